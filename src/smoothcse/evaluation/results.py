"""Results of one or several models: as numbers, as tables for the terminal, and as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from smoothcse._utils.atomic import require_writable, write_text_atomic
from smoothcse._utils.paths import local_path
from smoothcse._utils.tables import FigureTable
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.published import PROVISIONAL, STS_HEADINGS, Published, figure_cells
from smoothcse.evaluation.score import Score, average

AVERAGE = "avg"
"""Name of the mean over tasks, beside the names of the tasks."""

# Main metric of the groups that have an average; each of the other groups has one task.
_AVERAGED = {"sts": "spearman", "transfer": "accuracy"}

_COLUMNS = ("model", "group", "task", "metric", "value")

_TITLES = {
    "sts": "STS: Spearman × 100, 'all' setting",
    "transfer": "Transfer: accuracy in percent",
    "geometry": "Geometry",
    "retrieval": "Retrieval, %",
}
_HEADINGS = {**STS_HEADINGS, "mean_cosine": "mean cosine", "effective_rank": "effective rank"}


@dataclass(frozen=True)
class Evaluation:
    """Result of :func:`~smoothcse.evaluation.evaluate.evaluate`.

    Attributes:
        scores: All scores by model and group (``sts``, ``transfer``, ``geometry``, ``retrieval``).
        settings: Settings of the measurement: data, sampled pairs per STS task, weight beside BM25, pooling, and per
            model its precision and maximum length.
    """

    scores: Mapping[str, Mapping[str, Sequence[Score]]]
    settings: Mapping[str, Any]

    @property
    def models(self) -> dict[str, dict[str, dict[str, float]]]:
        """Main scores by model, group and task, e.g. ``models["my-encoder"]["sts"]["avg"]``.

        All are in percent except geometry. ``sts`` and ``transfer`` have :data:`AVERAGE` after their tasks.
        """
        return {
            name: {group: _figures(group, scores) for group, scores in groups.items()}
            for name, groups in self.scores.items()
        }

    def tables(self, compare: Sequence[Published] = ()) -> list[Table]:
        """Return one table per group, with one row per model.

        Args:
            compare: Published rows to show below the models in the table of ``sts``.
        """
        groups = dict.fromkeys(group for groups in self.scores.values() for group in groups)
        return [self._table(group, compare if group == "sts" else ()) for group in groups]

    def diagnoses(self) -> list[str]:
        """Return one line per model and diagnosis: ``"NAME, STS12, STS13: DIAGNOSIS"``."""
        found: dict[tuple[str, str], list[str]] = {}
        for name, groups in self.scores.items():
            for score in (score for scores in groups.values() for score in scores):
                if score.diagnosis:
                    found.setdefault((name, score.diagnosis), []).append(score.task)
        return [f"{name}, {', '.join(tasks)}: {diagnosis}" for (name, diagnosis), tasks in found.items()]

    def save(self, file: Path | str) -> None:
        """Write the results as JSON, and all metrics as CSV (model, group, task, metric, value) beside it.

        ``models`` in the JSON file is :attr:`models`, rounded to two decimals (geometry: four). ``details`` holds
        every metric unrounded, also by subset, with numbers of rows and diagnoses.

        Args:
            file: JSON file to write, ending in ``.json``. Existing results are replaced, also in the ``.csv`` file of
                the same name.

        Raises:
            SmoothCSEError: If the files cannot be written, see :func:`check_output`.
        """
        json_file, csv_file = check_output(file)
        _write(json_file, json.dumps(self._as_dict(), indent=2, ensure_ascii=False) + "\n")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(self._rows())
        _write(csv_file, text.getvalue())

    def _as_dict(self) -> dict[str, Any]:
        models = {
            name: {
                group: {task: round(figure, _decimals(group)) for task, figure in figures.items()}
                for group, figures in groups.items()
            }
            for name, groups in self.models.items()
        }
        details = {
            name: {group: {score.task: _detail(score) for score in scores} for group, scores in groups.items()}
            for name, groups in self.scores.items()
        }
        return {"models": models, "details": details, "settings": dict(self.settings)}

    def _rows(self) -> Iterator[tuple[str, str, str, str, float]]:
        for name, groups in self.scores.items():
            for group, scores in groups.items():
                for score in scores:
                    yield from ((name, group, score.task, metric, value) for metric, value in score.metrics.items())
                if group in _AVERAGED:
                    yield name, group, AVERAGE, _AVERAGED[group], average(scores)

    def _table(self, group: str, compare: Sequence[Published]) -> Table:
        rows = {name: groups[group] for name, groups in self.models.items() if group in groups}
        columns = dict.fromkeys(column for figures in rows.values() for column in figures)
        tasks = dict.fromkeys(score.task for groups in self.scores.values() for score in groups.get(group, ()))
        place = "" if group in _AVERAGED else f": {', '.join(tasks)}"
        drawn = self.settings.get("pairs") if group == "sts" else None
        sample = f", a sample of {drawn} pairs a task" if drawn else ""
        headings = (_HEADINGS.get(column, column) for column in columns)
        table = FigureTable(["model"], headings, f"{_TITLES[group]}{place}{sample}")
        for name, figures in rows.items():
            cells = (f"{figures[column]:.{_decimals(group)}f}" if column in figures else "-" for column in columns)
            table.add_row(escape(name), *cells)
        _add_published(table, compare)
        weight = self.settings.get("cosine_weight") if group == "retrieval" else None
        if weight is not None:
            fused = f"+ BM25: {weight:g} × cosine + {1 - weight:g} × BM25, each scaled to 0..1 per query"
            table.caption = fused + self._cost_of_maxsim()
        return table

    def _cost_of_maxsim(self) -> str:
        """Return a line on what MaxSim adds to the time of a query; empty if it was not measured."""
        costs = {
            name: score.milliseconds
            for name, groups in self.scores.items()
            for score in groups.get("retrieval", ())
            if score.milliseconds is not None
        }
        if not costs:
            return ""
        from smoothcse.evaluation.maxsim import CANDIDATES

        each = ", ".join(f"{milliseconds:.0f} ms ({escape(name)})" for name, milliseconds in costs.items())
        return f"\n+ MaxSim: the first {CANDIDATES} reordered token by token; time added to one query: {each}"


def check_output(file: Path | str) -> tuple[Path, Path]:
    """Return the paths of the JSON and the CSV file, after checking that both can be written.

    Args:
        file: JSON file to write.

    Raises:
        SmoothCSEError: If the file does not end in ``.json``, its folder is missing, it holds something other than
            results, or it cannot be written.
    """
    file = local_path(file)
    if file.suffix != ".json":
        raise SmoothCSEError(f"The output {file} must end in .json; a .csv of the same name is written beside it.")
    if not file.parent.is_dir():
        raise SmoothCSEError(
            f"The output {file} cannot be written: there is no folder {file.parent}; create it first."
        )
    targets = (file, file.with_suffix(".csv"))
    for target in targets:
        if target.is_dir():
            raise SmoothCSEError(f"The output {target} is a folder; give a file name.")
        if target.is_file() and not _is_result(target):
            raise SmoothCSEError(f"The output {target} holds something other than results; give another name.")
        _write(target, None)
    return targets


def _is_result(file: Path) -> bool:
    """Return whether a file begins like the results of an earlier evaluation, or is empty."""
    begin = '{\n  "models": ' if file.suffix == ".json" else ",".join(_COLUMNS)
    try:
        with file.open("rb") as opened:
            return opened.read(len(begin)) in (begin.encode(), b"")
    except OSError:
        return False


def _write(target: Path, text: str | None) -> None:
    """Write a file atomically, or with None as text, check that it can be written."""
    try:
        if text is None:
            require_writable(target)
        else:
            write_text_atomic(target, text)
    except OSError as error:
        raise SmoothCSEError(
            f"The output {target} cannot be written: {error.strerror or error}; give another path."
        ) from error


def _figures(group: str, scores: Sequence[Score]) -> dict[str, float]:
    if group not in _AVERAGED:
        return {metric: value for score in scores for metric, value in score.metrics.items()}
    return {**{score.task: score.main for score in scores}, AVERAGE: average(scores)}


def _decimals(group: str) -> int:
    return 4 if group == "geometry" else 2


def _detail(score: Score) -> dict[str, Any]:
    return {
        **score.metrics,
        "rows": score.rows,
        "subsets": {name: dict(metrics) for name, metrics in score.subsets.items()},
        "diagnosis": score.diagnosis,
        **({} if score.milliseconds is None else {"milliseconds": score.milliseconds}),
    }


def _add_published(table: Table, rows: Sequence[Published]) -> None:
    if not rows:
        return
    table.add_section()
    for row in rows:
        table.add_row(f"{row.system}, {row.model} ({' '.join(row.sources)})", *figure_cells(row), style="dim")
    provisional = f"\n{PROVISIONAL} provisional" if any(row.provisional for row in rows) else ""
    table.caption = f"below the line: published (sources as in `smoothcse list published`){provisional}"
