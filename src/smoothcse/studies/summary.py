"""What a study found: a table, a CSV of all runs, and two plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from smoothcse.durable import write_whole
from smoothcse.studies.plots import plot_curves, plot_grid
from smoothcse.studies.records import Record
from smoothcse.studies.statistics import mean_sd, paired_difference, show_mean_sd
from smoothcse.studies.study import Study

_HEADINGS = ("seeds", "last", "best", "last - control", "best - control", "noise share", "s/run")


def write_summary(study: Study, records: Sequence[Record], output: Path, *, console: Console | None = None) -> None:
    """Write ``runs.csv``, ``summary.md``, ``curves.png`` and, for a grid, ``grid.png``; print the table.

    Args:
        study: that was run.
        records: of its runs, finished so far.
        output: folder to write to.
        console: where to print the table; None not to.
    """
    if not records:
        return
    headings, rows = summary_rows(study, records)
    write_whole(output / "summary.md", _markdown(study, headings, rows, len(records)))
    _write_csv(output / "runs.csv", study, records)
    plot_curves(study, records, output / "curves.png")
    if study.grid:
        plot_grid(study, records, output / "grid.png")
    if console:
        console.print(_table(study, headings, rows))


def summary_rows(study: Study, records: Sequence[Record]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells: one row per variant and point of the grid.

    ``last`` and ``best`` are mean ± sd over seeds of the score after the last step and of the best evaluation. The
    differences are paired by seed, with a 95% interval of Student's t.
    """
    rows = []
    for point in study.points():
        for variant in study.variants:
            found = _of(records, variant, point)
            if found:
                control = _of(records, study.control, point) if variant != study.control else []
                rows.append([*map(str, point.values()), variant, *_cells(found, control)])
    return [*study.grid, "variant", *_HEADINGS], rows


def _cells(found: Sequence[Record], control: Sequence[Record]) -> Iterator[str]:
    yield str(len(found))
    yield show_mean_sd([record.last for record in found])
    yield show_mean_sd([record.best for record in found])
    by_seed = {record.seed: record for record in control}
    pairs = [(record, by_seed[record.seed]) for record in found if record.seed in by_seed]
    for name in ("last", "best"):
        treated, untreated = ([getattr(pair[side], name) for pair in pairs] for side in (0, 1))
        yield str(paired_difference(treated, untreated)) if pairs else ""
    shares = [record.noise_share for record in found if record.noise_share is not None]
    yield f"{mean_sd(shares)[0]:.1%}" if shares else ""
    yield f"{mean_sd([record.seconds for record in found])[0]:.0f}"


def _of(records: Sequence[Record], variant: str | None, point: Mapping[str, Any]) -> list[Record]:
    return [record for record in records if record.variant == variant and dict(record.point) == dict(point)]


def _table(study: Study, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=study.about)
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def _markdown(study: Study, headings: Sequence[str], rows: Sequence[Sequence[str]], count: int) -> str:
    rule = [":--" if heading == "variant" else "--:" for heading in headings]
    lines = [" | ".join(cells) for cells in (headings, rule, *rows)]
    table = "\n".join(f"| {line} |" for line in lines)
    return f"{study.about} ({count} of {len(study.runs())} runs)\n\n{table}\n"


def _write_csv(file: Path, study: Study, records: Sequence[Record]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*study.grid, "variant", "seed", "start", "last", "best", "noise_share", "seconds"])
    for r in records:
        writer.writerow([*r.point.values(), r.variant, r.seed, r.start, r.last, r.best, r.noise_share, r.seconds])
    write_whole(file, text.getvalue())
