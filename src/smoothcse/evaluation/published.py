"""Published STS results of unsupervised systems, each with its source.

The results are in ``published.csv``: Spearman times 100, "all" setting. The column ``source`` holds keys of
:data:`SOURCES`, separated by spaces.

Most published averages come from a single run. Over 50 seeds, unsup-SimCSE had standard deviations between 0.21
(RoBERTa-base) and 1.74 (BERT-large) in hppRC/simple-simcse.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from rich.table import Table

from smoothcse._utils.tables import FigureTable
from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.evaluation.sts_tasks import SEVEN_STS

SOURCES = {
    "L": "the authors' own training log",
    "README": "the README of the authors' repository",
    "paper": "the paper itself",
    "B": "the leaderboard Doragd/Awesome-Sentence-Embedding, which copied the papers' tables",
    "C": "table 2 of the CoT-BERT paper",
    "R": "recalled and checked by averaging only",
}
"""Meaning of the source keys; a row with ``R`` is *provisional*, and every table marks it as such."""

STS_HEADINGS = {task: task for task in SEVEN_STS} | {"STSBenchmark": "STS-B", "SICKRelatedness": "SICK-R"}
"""Table headings of the seven tasks."""

PROVISIONAL = "*"
"""Mark of a provisional average."""


@dataclass(frozen=True)
class Published:
    """One row of a published table.

    Attributes:
        system: Method, e.g. ``"GS-InfoNCE"``.
        model: Pretrained model, e.g. ``"BERT-base"``.
        scores: Score by task, named as in :data:`~smoothcse.evaluation.sts.SEVEN_STS`; empty if only the average was
            published.
        average: Average as published, which may differ from the mean of ``scores``.
        sources: Keys of :data:`SOURCES`.
        provisional: Whether the row was only recalled.
        note: Remark, or an empty string.
    """

    system: str
    model: str
    scores: Mapping[str, float]
    average: float
    sources: tuple[str, ...]
    provisional: bool
    note: str


def published_results(system: str | None = None, model: str | None = None) -> list[Published]:
    """Return the published rows, optionally of one system or one pretrained model.

    A system has several rows for one model if its log, README and paper disagree; the notes distinguish them.

    Args:
        system: System in any case; ``simcse`` is ``unsup-SimCSE``. Default: all.
        model: Pretrained model, e.g. ``"BERT-base"``. Default: all.

    Raises:
        SmoothCSEError: If no row has this system or this model.
    """
    if system is not None and not is_system(system):
        raise _unknown("system", system, [row.system for row in _rows()])
    if model is not None and model not in {row.model for row in _rows()}:
        raise _unknown("model", model, [row.model for row in _rows()])
    return [
        row
        for row in _rows()
        if (system is None or _folded(system) == _folded(row.system)) and model in (None, row.model)
    ]


def is_system(name: str) -> bool:
    """Return whether a system has published rows; the name is matched as in :func:`published_results`."""
    return _folded(name) in {_folded(row.system) for row in _rows()}


def published_table(systems: Iterable[str] | None = None, model: str | None = None) -> Table:
    """Return a table for the terminal, grouped by pretrained model, with ``*`` after provisional averages.

    Args:
        systems: Systems in the order to show them. Default: all.
        model: Pretrained model to restrict the rows to. Default: all.

    Raises:
        SmoothCSEError: If a system or the model is unknown, or no row has both.
    """
    chosen = [None] if systems is None else list(systems)
    rows = [row for system in chosen for row in published_results(system, model)]
    if not rows:
        raise SmoothCSEError(
            f"There are no published results of {', '.join(map(str, chosen))} trained from {model}; leave out one of "
            "the two filters."
        )
    table = FigureTable(["model"], (*STS_HEADINGS.values(), "avg"), "Published: Spearman × 100, 'all' setting")
    table.columns[0].no_wrap = True
    table.add_column("source", overflow="fold")
    for start in dict.fromkeys(row.model for row in rows):
        table.add_section()
        table.add_row(start, style="bold")
        for row in rows:
            if row.model == start:
                table.add_row(row.system, *figure_cells(row), " ".join(row.sources))
    table.caption = "\n".join(_remarks(rows))
    return table


def figure_cells(row: Published) -> Iterator[str]:
    """Yield the cells of the seven tasks and of the average, which is marked if it is provisional."""
    yield from (f"{row.scores[task]:.2f}" if row.scores else "-" for task in SEVEN_STS)
    yield f"{row.average:.2f}{PROVISIONAL if row.provisional else ''}"


def _remarks(rows: list[Published]) -> Iterator[str]:
    yield from (f"{row.system}, {row.model} ({' '.join(row.sources)}): {row.note}" for row in rows if row.note)
    shown = {source for row in rows for source in row.sources}
    yield from (f"{source} = {meaning}" for source, meaning in SOURCES.items() if source in shown)
    if any(row.provisional for row in rows):
        yield f"{PROVISIONAL} = provisional"


@cache
def _rows() -> tuple[Published, ...]:
    text = files("smoothcse.evaluation").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(_row(cells) for cells in csv.DictReader(text.splitlines()))


def _row(cells: Mapping[str, str]) -> Published:
    return Published(
        system=cells["system"],
        model=cells["model"],
        scores={task: float(cells[column]) for task, column in STS_HEADINGS.items() if cells[column]},
        average=float(cells["avg"]),
        sources=tuple(cells["source"].split()),
        provisional=cells["provisional"] == "yes",
        note=cells["note"],
    )


def _folded(system: str) -> str:
    """Return the form in which names of systems are compared; "SimCSE" means the unsupervised one here."""
    return system.casefold().removeprefix("unsup-")


def _unknown(what: str, name: str, known: Iterable[str]) -> SmoothCSEError:
    names = list(dict.fromkeys(known))
    hint = did_you_mean(name, names) or did_you_mean(name.casefold(), [known.casefold() for known in names])
    return SmoothCSEError(f"No published row has the {what} {name!r}; there are {', '.join(names)}.{hint}")
