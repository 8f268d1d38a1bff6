"""Runs in this process, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from smoothcse.evaluation.evaluate import evaluate
from smoothcse.experiments.planned_runs import PlannedRun
from smoothcse.experiments.runner import Work
from smoothcse.experiments.seven_tasks import SevenTasks
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder
from smoothcse.training.run import train
from smoothcse.training.selection import Criterion


@dataclass
class InProcess:
    """Training and scoring in this process; the first error ends the plan.

    Attributes:
        console: Console for progress and results.
        devices: Processes that share each batch, as in :func:`~smoothcse.training.train`.
        same_start: Whether all runs have the same start model and criterion, so that the start is scored only once.
        criterion: Criterion of all runs, in place of those of their configurations.
        start_metrics: Metrics of the start, if they are known.
    """

    console: Console
    devices: int | None = None
    same_start: bool = False
    criterion: Criterion | None = None
    start_metrics: Mapping[str, float] | None = None

    def each(self, runs: Sequence[PlannedRun], work: Work) -> Iterator[tuple[PlannedRun, None]]:
        """Do the work in the main thread, which receives the signals."""
        for number, run in enumerate(runs, start=1):
            self.console.rule(f"{run.name}, {number} of {len(runs)}")
            work(run, self)
            yield run, None

    def train(self, config: TrainConfig, *, resume: bool, overwrite: bool) -> None:
        """Train a run in the output folder of its configuration."""
        train(
            config,
            resume=resume,
            overwrite=overwrite,
            devices=self.devices,
            criterion=self.criterion,
            start_metrics=self.start_metrics,
            console=self.console,
        )
        if self.same_start and self.start_metrics is None:
            self.start_metrics = _start_metrics(RunFolder(config.output))

    def score(self, model: Path, wanted: SevenTasks, data: Path, file: Path) -> None:
        """Score a model on the seven tasks and write ``file``."""
        evaluate(model, ["sts"], data, pairs=wanted.pairs, precision="fp32", console=self.console).save(file)


def _start_metrics(folder: RunFolder) -> dict[str, float]:
    """Return the metrics of a run's start, with the names used by its criterion."""
    start = folder.metrics()[0]
    return {name.removeprefix("eval_"): value for name, value in start.items() if name.startswith("eval_")}
