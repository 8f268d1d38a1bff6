"""Outcome of a reproduction: published scores, ours and those of the control, and a verdict."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.tables import FigureTable
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.published import STS_HEADINGS, Published, figure_cells
from smoothcse.evaluation.results import AVERAGE
from smoothcse.evaluation.sts_tasks import SEVEN_STS
from smoothcse.experiments.reproduction import Reproduction
from smoothcse.experiments.run_records import Record
from smoothcse.experiments.seven_tasks import FIGURES
from smoothcse.experiments.statistics import Difference, mean_sd, paired_difference, show_mean_sd
from smoothcse.runs.recipes import CONTROL


@dataclass(frozen=True)
class Outcome:
    """Outcome of :func:`~smoothcse.experiments.reproduce.reproduce`.

    Attributes:
        reproduction: Recipe and settings of the reproduction.
        records: Records of all runs, with their scores on the seven tasks.
    """

    reproduction: Reproduction
    records: Sequence[Record]

    def figures(self, variant: str, figure: str) -> list[float]:
        """Return a task's score, or the average, of each seed."""
        return [_sts(record)[figure] for record in self.records if record.variant == variant]

    def difference(self, figure: str) -> Difference | None:
        """Return the difference of recipe and control, paired by seed; None for a recipe without control."""
        if self.reproduction.study.control is None:
            return None
        return paired_difference(self.figures(self.reproduction.method, figure), self.figures(CONTROL, figure))

    def table(self) -> Table:
        """Return the comparison as a table, one row per task."""
        headings, rows = self._cells()
        title = f"{self.reproduction.recipe}: Spearman × 100, 'all' setting"
        table = FigureTable(headings[:1], headings[1:], title, Text(self._remarks()))
        for row in rows:
            table.add_row(*row, end_section=row[0] == STS_HEADINGS[SEVEN_STS[-1]])
        return table

    def verdict(self) -> str:
        """Return in one sentence whether the published average was reproduced, and whether the noise mattered."""
        ours, difference = self.figures(self.reproduction.method, AVERAGE), self.difference(AVERAGE)
        changed = ", ".join(f"{name} {value}" for name, value in self.reproduction.changed.items())
        start = f"With other settings than the recipe's ({changed}), " if changed else ""
        mean, sd = mean_sd(ours)
        if sd is None:
            sentence = f"one seed settles nothing (its average is {mean:.2f}); run more with --seeds 5 --resume."
        else:
            said = [_compared(row.average, mean, sd) for row in self.reproduction.published()]
            sentence = f"{' and '.join(said)} of ours ({show_mean_sd(ours)}, {len(ours)} seeds){_found(difference)}."
        return start + sentence if start else sentence[0].upper() + sentence[1:]

    def as_dict(self) -> dict[str, Any]:
        """Return all results as plain values, for ``reproduce.json``."""
        names = (self.reproduction.method, *([CONTROL] if self.reproduction.study.control else []))
        differences = {figure: self.difference(figure) for figure in FIGURES}
        return {
            "recipe": self.reproduction.recipe,
            "changed": dict(self.reproduction.changed),
            "seeds": self.reproduction.study.seeds,
            "selected_by": "highest STS-B dev score during training",
            "published": [dataclasses.asdict(row) for row in self.reproduction.published()],
            "mean_sd": {name: {figure: self._mean_sd(name, figure) for figure in FIGURES} for name in names},
            "difference": {figure: found and dataclasses.asdict(found) for figure, found in differences.items()},
            "runs": [_as_dict(record) for record in self.records],
            "verdict": self.verdict(),
        }

    def save(self) -> None:
        """Write ``reproduce.json`` and ``reproduce.md``, each atomically."""
        headings, rows = self._cells()
        lines = [" | ".join(cells) for cells in (headings, [":--", *["--:"] * (len(headings) - 1)], *rows)]
        table = "\n".join(f"| {line} |" for line in lines)
        text = f"# {self.reproduction.recipe}\n\n{table}\n\n{self._remarks()}\n\n{self.verdict()}\n"
        _write(self.reproduction.output / "reproduce.md", text)
        _write(
            self.reproduction.output / "reproduce.json",
            json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n",
        )

    def _mean_sd(self, variant: str, figure: str) -> dict[str, float | None]:
        return dict(zip(("mean", "sd"), mean_sd(self.figures(variant, figure)), strict=True))

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        method, published = self.reproduction.method, self.reproduction.published()
        headings = ["task", *(_heading(row, published) for row in published), method]
        columns = [list(figure_cells(row)) for row in published]
        columns.append([show_mean_sd(self.figures(method, figure)) for figure in FIGURES])
        if self.reproduction.study.control:
            headings += [CONTROL, "difference [95%]"]
            columns.append([show_mean_sd(self.figures(CONTROL, figure)) for figure in FIGURES])
            columns.append([str(self.difference(figure)) for figure in FIGURES])
        names = [STS_HEADINGS.get(figure, figure) for figure in FIGURES]
        return headings, [list(row) for row in zip(names, *columns, strict=True)]

    def _remarks(self) -> str:
        seeds = self.reproduction.study.seeds
        spread = f"mean ± sd over {len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
        paired = ", differences paired by seed" if self.reproduction.study.control and len(seeds) > 1 else ""
        chosen = "the model of each run with the best STS-B dev score, as in the papers"
        lines = [f"Ours: {spread}{paired}; {chosen}."]
        lines += [f"{record.name}: {diagnosis}" for record in self.records for diagnosis in record.diagnoses]
        return "\n".join(lines)


def _compared(published: float, mean: float, sd: float) -> str:
    place = "within" if abs(published - mean) <= 2 * sd else "outside"
    return f"the published average {published:.2f} lies {place} mean ± 2 sd"


def _found(difference: Difference | None) -> str:
    if difference is None:
        return ""
    finding = "leaves out 0" if difference.established else "holds 0, so that nothing is established"
    return f"; its difference from the control is {difference}, a 95% interval that {finding}"


def _sts(record: Record) -> Mapping[str, float]:
    return record.sts or {}


def _as_dict(record: Record) -> dict[str, Any]:
    return {
        "variant": record.variant,
        "seed": record.seed,
        "folder": record.name,
        "best_step": record.best_step,
        "dev_score": record.best,
        "sts": dict(_sts(record)),
        "diagnoses": list(record.diagnoses),
    }


def _heading(row: Published, rows: Sequence[Published]) -> str:
    return f"published ({' '.join(row.sources)})" if len(rows) > 1 else "published"


def _write(file: Path, text: str) -> None:
    try:
        write_text_atomic(file, text)
    except OSError as error:
        raise SmoothCSEError(
            f"{file} cannot be written ({error.strerror}); the runs are kept: free space and repeat with --resume."
        ) from error
