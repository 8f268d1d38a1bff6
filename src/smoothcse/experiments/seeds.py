"""One configuration over several seeds: its score with mean and standard deviation."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from rich.console import Console

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.tables import FigureTable
from smoothcse.experiments.in_process import InProcess
from smoothcse.experiments.planned_runs import Plan, PlannedRun, run_name
from smoothcse.experiments.runner import run_plan
from smoothcse.experiments.statistics import show_mean_sd
from smoothcse.hub.model_card import write_model_card
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.disk import explain_failed_writes
from smoothcse.runs.result import TrainResult, read_result


def plan_seeds(config: TrainConfig, count: int) -> Plan:
    """Return the plan of ``count`` runs that differ only in their seeds.

    Args:
        config: Configuration of the first run; the seeds of the others count up from its seed.
        count: Number of runs.
    """
    seeds = range(config.seed, config.seed + count)
    runs = [PlannedRun(run_name("", {}, seed), "", config.replace(seed=seed)) for seed in seeds]
    return Plan(runs, Path(config.output))


def train_seeds(
    config: TrainConfig,
    count: int,
    *,
    resume: bool = False,
    overwrite: bool = False,
    devices: int | None = None,
    console: Console | None = None,
) -> list[TrainResult]:
    """Train runs that differ only in their seeds, in ``output/seed-42``, ``output/seed-43`` and so on.

    Args:
        config: Configuration of the first run; the seeds of the others count up from its seed.
        count: Number of runs, at least 2.
        resume: Whether to keep finished runs and resume an interrupted one.
        overwrite: Whether to replace runs in these folders.
        devices: Processes that share each batch, as in :func:`~smoothcse.training.train`.
        console: Console for progress and the table; None for standard error.

    Returns:
        The results in the order of the seeds. They are printed as a table, and written to ``output/seeds.json`` with
        mean and standard deviation.

    Raises:
        SmoothCSEError: If a run fails; see :func:`~smoothcse.training.train`.
    """
    console = console or Console(stderr=True)
    plan = plan_seeds(config, count)
    replace = overwrite and not resume
    if not (resume or replace):
        plan.require_new("continue them with --resume, replace them with --overwrite, or give another --output")
    workers = InProcess(console, devices)
    run_plan(plan, workers, replace="all" if replace else "none", keep_checkpoints=True)
    results = [read_result(plan.folder_of(run).path) for run in plan.runs]
    _report(config, results, console)
    return results


def _report(config: TrainConfig, results: list[TrainResult], console: Console) -> None:
    """Print the table of the seeds, write ``seeds.json``, and add the spread to the model cards."""
    best, last = ([getattr(result, name) for result in results] for name in ("best_score", "last_score"))
    table = FigureTable(
        ["seed"], ("start", "best", "at step", "last"), f"{results[0].criterion}, {len(results)} seeds"
    )
    seeds = list(range(config.seed, config.seed + len(results)))
    for seed, result in zip(seeds, results, strict=True):
        start, top, end = (f"{s:.2f}" for s in (result.start_score, result.best_score, result.last_score))
        table.add_row(str(seed), start, top, str(result.best_step), end)
    table.add_section()
    table.add_row("mean ± sd", "", show_mean_sd(best), "", show_mean_sd(last))
    console.print(table)
    summary = {"seeds": seeds, "best": _summary(best), "last": _summary(last)}
    folder = Path(config.output)
    with explain_failed_writes(folder):
        write_text_atomic(folder / "seeds.json", json.dumps(summary, indent=2) + "\n")
        for result in results:  # the cards read the spread from seeds.json
            for model in (result.best, result.last):
                write_model_card(model)


def _summary(scores: list[float]) -> dict[str, list[float] | float]:
    return {"scores": scores, "mean": statistics.mean(scores), "sd": statistics.stdev(scores)}
