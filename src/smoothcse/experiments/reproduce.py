"""A published recipe and its control over seeds, and the published table beside what came of them.

The figures are those of each run's *best* model, the one with the highest STS-B dev score of all that were looked at
during training, since the authors chose theirs so.

::

    OUTPUT/METHOD/seed-42/     a run folder, with sts.json and sts.csv, its scores on the seven tasks
    OUTPUT/control/seed-42/    the same without noise
    OUTPUT/reproduce.json      everything
    OUTPUT/reproduce.md        the table and the verdict
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from rich.console import Console

from smoothcse.encoders.hardware import find_hardware
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.evaluate import evaluate
from smoothcse.experiments.outcome import Outcome, Run
from smoothcse.experiments.reproduction import Reproduction, checked_data, is_finished
from smoothcse.experiments.seven_tasks import read_figures
from smoothcse.experiments.study import PlannedRun
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.result import read_result
from smoothcse.training.run import train


def reproduce(reproduction: Reproduction, *, resume: bool = False, console: Console | None = None) -> Outcome:
    """Train and evaluate what is missing, and write ``reproduce.json`` and ``reproduce.md``.

    A run's checkpoints are removed when it has finished; its best and its last model stay.

    Args:
        reproduction: from :func:`plan_reproduction`.
        resume: keep what an earlier call finished, and go on with the run that was cut off.
        console: where to say what goes on; None for standard error.

    Raises:
        SmoothCSEError: for everything a user can mend; what has finished stays for ``resume``.
    """
    console = console or Console(stderr=True)
    runs = reproduction.runs()
    find_hardware(runs[0].config.precision)
    _check_output(reproduction, resume)
    for run in runs:
        is_finished(run.config)  # a changed configuration is told before the first hour, not before the last
    data = checked_data(reproduction.data)  # likewise a gap in the data
    for number, run in enumerate(runs, start=1):
        console.rule(f"{run.name}, {number} of {len(runs)}")
        _train(run.config, console)
        _evaluate(RunFolder(run.config.output), data, console)
    outcome = Outcome(reproduction, [_read(run) for run in runs])
    outcome.save()
    return outcome


def _check_output(reproduction: Reproduction, resume: bool) -> None:
    there = [run for run in reproduction.runs() if RunFolder(run.config.output).manifest_file.is_file()]
    if there and not resume:
        raise SmoothCSEError(
            f"{reproduction.output} holds {len(there)} of these runs; go on with --resume, or give another --output."
        )


def _train(config: TrainConfig, console: Console) -> None:
    folder = RunFolder(config.output)
    if not is_finished(config):
        train(config, resume=folder.manifest_file.is_file(), console=console)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)  # three times the model each, and nothing to resume


def _evaluate(folder: RunFolder, data: Path, console: Console) -> None:
    """Score a run's best model on the seven tasks, once for the same data."""
    file = _scores_file(folder)
    if file.is_file() and json.loads(file.read_text(encoding="utf-8"))["settings"]["data"] == str(data):
        return
    evaluate(folder.best, ["sts"], data, precision="fp32", console=console).save(file)


def _scores_file(folder: RunFolder) -> Path:
    return folder.path / "sts.json"


def _read(run: PlannedRun) -> Run:
    folder = RunFolder(run.config.output)
    [scores] = json.loads(_scores_file(folder).read_text(encoding="utf-8"))["details"].values()
    result = read_result(folder.path)
    return Run(
        run.variant,
        run.seed,
        run.name,
        result.best_step,
        result.best_score,
        read_figures(_scores_file(folder)),
        sorted({score["diagnosis"] for score in scores["sts"].values() if score["diagnosis"]}),
    )
