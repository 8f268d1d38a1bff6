"""The summary of a study: tables, a CSV file of all runs, and plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.tables import FigureTable
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.published import STS_HEADINGS
from smoothcse.evaluation.results import AVERAGE
from smoothcse.experiments.comparisons import PairedTest, compare, comparison_tables, comparisons_csv
from smoothcse.experiments.run_records import Record
from smoothcse.experiments.seven_tasks import FIGURES
from smoothcse.experiments.statistics import mean_sd, paired_difference, show_mean_sd
from smoothcse.experiments.study import Study
from smoothcse.experiments.study_plots import plot_curves, plot_grid, plot_sts
from smoothcse.experiments.tests_plot import plot_tests

_NAMES = ("variant", "comparison")
"""Headings of the columns that name a row, after the fields of the grid."""

_HEADINGS = (
    *("seeds", "last", "best", "last - control", "best - control"),
    *("noise share", "masked share", "s/run", "s/step", "MB"),
)
_STS_HEADINGS = ("seeds", *(STS_HEADINGS.get(figure, figure) for figure in FIGURES), f"{AVERAGE} - control")


def write_summary(study: Study, records: Sequence[Record], output: Path, *, console: Console | None = None) -> None:
    """Write ``runs.csv``, ``summary.md``, ``tests.csv`` and plots, and print the tables.

    The plots are ``curves.png``, ``grid.png`` for a grid, ``sts.png`` for the seven tasks and ``tests.png``.

    Args:
        study: The study.
        records: Records of its finished runs.
        output: Folder that the files are written to.
        console: Console for the tables; None to print nothing.
    """
    if not records:
        return
    tables = [(f"{study.about} ({len(records)} of {len(study.runs())} runs)", *summary_rows(study, records))]
    tested = [record for record in records if record.sts and record.has(study.evaluate)] if study.evaluate else []
    if study.evaluate and tested:
        tables.append((study.evaluate.describe(), *sts_rows(study, tested)))
    comparisons = compare(study, records)
    tables += comparison_tables(study, comparisons)
    write_text_atomic(output / "summary.md", "\n".join(_markdown(*table) for table in tables))
    _write_csv(output / "runs.csv", study, records)
    if comparisons:
        write_text_atomic(output / "tests.csv", comparisons_csv(study, comparisons))
    if console:
        for table in tables:
            console.print(_table(*table))
    try:
        _plot(study, records, tested, comparisons, output)
    except SmoothCSEError as error:  # without matplotlib, write the tables only
        if console:
            console.print(f"No plots were drawn. {error}", style="yellow", markup=False, highlight=False)


def _plot(
    study: Study,
    records: Sequence[Record],
    tested: Sequence[Record],
    comparisons: Sequence[PairedTest],
    output: Path,
) -> None:
    if tested:
        plot_sts(study, tested, output / "sts.png")
    plot_curves(study, records, output / "curves.png")
    if study.grid:
        plot_grid(study, records, output / "grid.png")
    if comparisons:
        plot_tests(study, comparisons, output / "tests.png")


def summary_rows(study: Study, records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells, one row per variant and point of the grid.

    ``last`` and ``best`` are mean ± sd over seeds of the score after the last step and of the best evaluation. The
    differences are paired by seed, with a 95% interval of Student's t. The masked share is the share of the negatives
    that ``false_negative_threshold`` removed. ``s/step`` and ``MB`` are the mean time of a step and its mean peak
    memory above the loaded model. Empty columns are left out.
    """
    return _without_empty(*_rows(study, records, _HEADINGS, _cells))


def sts_rows(study: Study, records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells for the seven STS tasks, likewise: mean ± sd over seeds."""
    return _without_empty(*_rows(study, records, _STS_HEADINGS, _sts_cells))


def _rows(
    study: Study,
    records: Sequence[Record],
    headings: Sequence[str],
    cells: Callable[[Sequence[Record], Sequence[Record]], Iterator[str]],
) -> tuple[list[str], list[list[str]]]:
    rows = []
    for point in study.points():
        for variant in study.variants:
            found = _of(records, variant, point)
            if found:
                control = _of(records, study.control, point) if variant != study.control else []
                rows.append([*map(str, point.values()), variant, *cells(found, control)])
    return [*study.grid, "variant", *headings], rows


def _cells(found: Sequence[Record], control: Sequence[Record]) -> Iterator[str]:
    yield str(len(found))
    yield show_mean_sd([record.last for record in found])
    yield show_mean_sd([record.best for record in found])
    yield _difference(found, control, lambda record: record.last)
    yield _difference(found, control, lambda record: record.best)
    yield _mean([record.noise_share for record in found], ".1%")
    yield _mean([record.masked_share for record in found], ".2%")
    yield _mean([record.seconds for record in found], ".0f")
    yield _mean([record.step_seconds for record in found], ".3g")
    yield _mean([record.peak_memory_mb for record in found], ",.0f")


def _sts_cells(found: Sequence[Record], control: Sequence[Record]) -> Iterator[str]:
    yield str(len(found))
    for figure in FIGURES:
        yield show_mean_sd([_sts(record)[figure] for record in found])
    yield _difference(found, control, lambda record: _sts(record)[AVERAGE])


def _sts(record: Record) -> Mapping[str, float]:
    return record.sts or {}


def _difference(found: Sequence[Record], control: Sequence[Record], score: Callable[[Record], float]) -> str:
    """Return the difference from the control over the seeds that both have."""
    by_seed = {record.seed: record for record in control}
    pairs = [(record, by_seed[record.seed]) for record in found if record.seed in by_seed]
    treated, untreated = ([score(pair[side]) for pair in pairs] for side in (0, 1))
    return str(paired_difference(treated, untreated)) if pairs else ""


def _mean(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return f"{mean_sd(known)[0]:{form}}" if known else ""


def _of(records: Sequence[Record], variant: str | None, point: Mapping[str, Any]) -> list[Record]:
    return [record for record in records if record.variant == variant and dict(record.point) == dict(point)]


def _without_empty(headings: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    kept = [place for place, heading in enumerate(headings) if any(row[place] for row in rows)]
    return [headings[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> FigureTable:
    names = next(place for place, heading in enumerate(headings) if heading in _NAMES) + 1
    table = FigureTable(headings[:names], headings[names:], Text(title))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _markdown(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = [":--" if heading in _NAMES else "--:" for heading in headings]
    lines = [" | ".join(cells) for cells in (headings, rule, *rows)]
    table = "\n".join(f"| {line} |" for line in lines)
    return f"{title}\n\n{table}\n"


def _write_csv(file: Path, study: Study, records: Sequence[Record]) -> None:
    """Write a row per run, with the scores on the seven tasks if the study asks for them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = FIGURES if study.evaluate else ()
    measured = ("start", "last", "best", "noise_share", "masked_share", "seconds", "step_seconds", "peak_memory_mb")
    writer.writerow([*study.grid, "variant", "seed", *measured, *figures])
    for record in records:
        sts = _sts(record) if record.has(study.evaluate) else {}
        values = [getattr(record, name) for name in measured]
        writer.writerow(
            [*record.point.values(), record.variant, record.seed, *values, *(sts.get(name) for name in figures)]
        )
    write_text_atomic(file, text.getvalue())
