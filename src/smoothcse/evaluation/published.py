"""Published figures of the systems that a model is compared with, each with where it comes from.

They stand in ``published.csv``: Spearman times 100, "all" setting, of unsupervised models. The column
``source`` holds, separated by spaces:

====== ===============================================================================================
L      the authors' own training log
README the README of the authors' repository
paper  the paper itself
B      the public leaderboard Doragd/Awesome-Sentence-Embedding, which copied the papers' tables
C      table 2 of the CoT-BERT paper
R      recalled and checked by averaging only: *provisional*, and marked so wherever it is shown
====== ===============================================================================================

A published average is mostly that of one run; 50 seeds of unsup-SimCSE had standard deviations between 0.21
(RoBERTa-base) and 1.74 (BERT-large) in hppRC/simple-simcse.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from rich.table import Table

from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.evaluation.sts_tasks import SEVEN_STS

_COLUMNS = ("STS12", "STS13", "STS14", "STS15", "STS16", "STS-B", "SICK-R")
_PROVISIONAL = "*"


@dataclass(frozen=True)
class Published:
    """One row of a published table.

    Attributes:
        system: the method, e.g. ``"GS-InfoNCE"``.
        model: what it was trained from, e.g. ``"BERT-base"``.
        scores: figure by task, named as in :data:`~smoothcse.evaluation.sts.SEVEN_STS`; empty where only the
            average was published.
        average: as published, which may differ from the mean of ``scores``.
        sources: letters as explained in this module.
        provisional: whether the row was only recalled.
        note: a remark, or an empty string.
    """

    system: str
    model: str
    scores: Mapping[str, float]
    average: float
    sources: tuple[str, ...]
    provisional: bool
    note: str


def published_results(system: str | None = None, model: str | None = None) -> list[Published]:
    """Return the published rows of a system, of a starting model, of both, or all of them.

    A system has several rows for one model where its log, README and paper disagree; the notes tell them
    apart.

    Raises:
        SmoothCSEError: if no row has this system or this model.
    """
    _check("system", system, (row.system for row in _rows()))
    _check("model", model, (row.model for row in _rows()))
    return [row for row in _rows() if system in (None, row.system) and model in (None, row.model)]


def published_table(systems: Iterable[str] | None = None, model: str | None = None) -> Table:
    """Return a table for the terminal, with a ``*`` behind each provisional average.

    Args:
        systems: which to show, in this order; None for all.
        model: restricts the rows to one starting model.

    Raises:
        SmoothCSEError: if a system or the model is unknown.
    """
    chosen = [None] if systems is None else list(systems)
    rows = [row for system in chosen for row in published_results(system, model)]
    table = Table(title="Published: Spearman × 100, 'all' setting")
    for heading in ("system", "model"):
        table.add_column(heading)
    for heading in (*_COLUMNS, "avg"):
        table.add_column(heading, justify="right")
    table.add_column("source")
    table.add_column("note")
    for row in rows:
        table.add_row(*_cells(row))
    if any(row.provisional for row in rows):
        table.caption = f"{_PROVISIONAL} provisional: recalled, checked by averaging only"
    return table


def _cells(row: Published) -> Iterator[str]:
    yield from (row.system, row.model)
    yield from (f"{row.scores[task]:.2f}" if row.scores else "-" for task in SEVEN_STS)
    yield f"{row.average:.2f}{_PROVISIONAL if row.provisional else ''}"
    yield from (" ".join(row.sources), row.note)


@cache
def _rows() -> tuple[Published, ...]:
    text = files("smoothcse.evaluation").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(_row(cells) for cells in csv.DictReader(text.splitlines()))


def _row(cells: Mapping[str, str]) -> Published:
    return Published(
        system=cells["system"],
        model=cells["model"],
        scores={task: float(cells[column]) for task, column in zip(SEVEN_STS, _COLUMNS, strict=True) if cells[column]},
        average=float(cells["avg"]),
        sources=tuple(cells["source"].split()),
        provisional=cells["provisional"] == "yes",
        note=cells["note"],
    )


def _check(what: str, name: str | None, known: Iterable[str]) -> None:
    names = list(dict.fromkeys(known))
    if name is not None and name not in names:
        raise SmoothCSEError(
            f"No published row has the {what} {name!r}; there are {', '.join(names)}.{did_you_mean(name, names)}"
        )
