"""One configuration over several seeds: the figure with its spread."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from rich.console import Console

from smoothcse._utils.atomic import write_whole
from smoothcse._utils.disk import explain_failed_writes
from smoothcse._utils.tables import FigureTable
from smoothcse.errors import SmoothCSEError
from smoothcse.hub.model_card import write_model_card
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.result import TrainResult
from smoothcse.training.run import train


def train_seeds(
    config: TrainConfig,
    count: int,
    *,
    resume: bool = False,
    overwrite: bool = False,
    devices: int | None = None,
    console: Console | None = None,
) -> list[TrainResult]:
    """Train ``count`` runs that differ in their seed alone, into ``output/seed-42``, ``seed-43`` and so on.

    Args:
        config: of the first run; the others count its seed up.
        count: runs.
        resume: keep runs that have finished and go on with one that was cut off.
        overwrite: replace runs that are there.
        devices: as in :func:`~smoothcse.training.train`.
        console: where to print; None for standard error.

    Returns:
        The results in the order of the seeds; they are also written to ``output/seeds.json`` with mean and standard
        deviation, and printed as a table.

    Raises:
        SmoothCSEError: as :func:`~smoothcse.training.train`.
    """
    console = console or Console(stderr=True)
    results = []
    for seed in range(config.seed, config.seed + count):
        one = config.replace(seed=seed, output=str(Path(config.output) / f"seed-{seed}"))
        console.rule(f"seed {seed}")
        going_on = resume and RunFolder(one.output).manifest_file.is_file()
        results.append(train(one, resume=going_on, overwrite=overwrite, devices=devices, console=console))
        _require_one_text(config, results)
    _report(config, results, console)
    return results


def _require_one_text(config: TrainConfig, results: list[TrainResult]) -> None:
    """Check that a resumed series did not go on with another text; with a limit, each seed draws its own."""
    if config.limit is not None:
        return
    first, last = (
        RunFolder(result.folder).read_manifest()["data"]["fingerprint"] for result in (results[0], results[-1])
    )
    if first != last:
        raise SmoothCSEError(
            f"The runs in {results[0].folder} and {results[-1].folder} learned from different texts (fingerprints "
            f"{first} and {last}), so that their mean says nothing; train all seeds anew with --overwrite."
        )


def _report(config: TrainConfig, results: list[TrainResult], console: Console) -> None:
    title = f"{results[0].criterion}, {len(results)} seeds"
    table = FigureTable(["seed"], ("start", "best", "at step", "last"), title)
    for offset, result in enumerate(results):
        scores = (result.start_score, result.best_score, result.best_step, result.last_score)
        table.add_row(str(config.seed + offset), *(f"{s:.2f}" if isinstance(s, float) else str(s) for s in scores))
    table.add_section()
    best, last = ([getattr(r, name) for r in results] for name in ("best_score", "last_score"))
    table.add_row("mean ± sd", "", _mean_sd(best), "", _mean_sd(last))
    console.print(table)
    summary = {
        "seeds": list(range(config.seed, config.seed + len(results))),
        "best": {"scores": best, "mean": statistics.mean(best), "sd": statistics.stdev(best)},
        "last": {"scores": last, "mean": statistics.mean(last), "sd": statistics.stdev(last)},
    }
    folder = Path(config.output)
    with explain_failed_writes(folder):
        write_whole(folder / "seeds.json", json.dumps(summary, indent=2) + "\n")
        for result in results:  # whose cards can tell the spread now
            write_model_card(result.best)


def _mean_sd(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"
