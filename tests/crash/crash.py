"""Kill a training run with -9 again and again, resume it each time, and compare it with one left alone.

    python tests/crash/crash.py --kills 100 [--seed 0] [--output tests/crash/results.json]

A life begins where the last checkpoint lies and ends after a random time, so that the kill falls into a step, an
evaluation, the writing of a checkpoint, of its seal, of ``best`` or of ``metrics.jsonl``. Each life is checked: what
was the newest intact checkpoint before it may not be lost.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file

from smoothcse.training import make_config, train
from smoothcse.training.checkpoints import step_of
from smoothcse.training.run_folder import RunFolder
from tiny import save_tiny_model, sentences

MEAN_LIFE = 0.7  # seconds of training between kills; a checkpoint is due every few hundredths of one
QUIET = Console(quiet=True)


@dataclass
class Report:
    """What came of the kills.

    Attributes:
        kills: that hit a living run.
        lives: of the run, the last one included.
        torn: kills that left a checkpoint unfinished.
        identical: whether losses, selection and weights equal those of the run left alone, bit for bit.
    """

    kills: int
    lives: int
    torn: int
    identical: bool


def crash(folder: Path, kills: int, *, steps: int, seed: int = 0, **fields: Any) -> Report:
    """Run twice, once left alone and once killed ``kills`` times.

    Args:
        folder: to work in.
        kills: how many.
        steps: of the run.
        seed: of the moments.
        fields: of the configuration.

    Raises:
        AssertionError: if a kill lost an intact checkpoint.
    """
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(sentences(64)) + "\n", encoding="utf-8")
    model = save_tiny_model(folder / "model")
    values = {"corpus": str(corpus), "model": model, "batch_size": 8, "learning_rate": 1e-3, "precision": "fp32"}
    values |= {"max_steps": steps, "epochs": 100, "eval_steps": 2, "log_steps": 1, "seed": 1} | fields
    alone = train(make_config({**values, "output": str(folder / "alone")}), console=QUIET)

    config = {**values, "output": str(folder / "killed")}
    run, moments = RunFolder(folder / "killed"), random.Random(seed)
    report = Report(kills=0, lives=0, torn=0, identical=False)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["smoothcse.training"])
    for _ in track(range(kills), "killing", console=Console(stderr=True), disable=not sys.stderr.isatty()):
        before = run.latest_checkpoint()
        life = context.Process(target=live, args=(config, run.manifest_file.is_file()))
        life.start()
        report.lives += 1
        wait_for_training(run, life)
        life.join(moments.expovariate(1 / MEAN_LIFE))
        if life.exitcode is not None:
            assert life.exitcode == 0, "a life ended by itself, and not well"
            break
        life.kill()
        life.join()
        report.kills += 1
        after = run.latest_checkpoint()
        assert before is None or (after is not None and step_of(after) >= step_of(before)), "a checkpoint was lost"
        report.torn += any(step_of(path) > (step_of(after) if after else -1) for path in run.checkpoints.glob("ch*"))
    if not run.finished:
        live(config, run.manifest_file.is_file())
        report.lives += 1
    report.identical = same(alone.folder, run.path)
    return report


def live(config: dict[str, Any], resume: bool) -> None:
    """Be a run until the end, or until killed."""
    train(make_config(config), resume=resume, console=QUIET)


def wait_for_training(run: RunFolder, life: multiprocessing.process.BaseProcess) -> None:
    """Return once the life has written something of its own, or has ended."""
    size = stamp(run)
    while life.exitcode is None and stamp(run) == size:
        time.sleep(0.005)


def stamp(run: RunFolder) -> Any:
    """Return something that changes whenever the run logs."""
    return run.metrics_file.stat().st_mtime_ns if run.metrics_file.is_file() else None


def same(alone: Path, killed: Path) -> bool:
    """Whether two runs gave the same losses, scores, choice and weights, bit for bit."""
    traced = ("step", "loss", "eval_dev_score")
    traces = [
        [{k: v for k, v in entry.items() if k in traced} for entry in RunFolder(run).metrics()]
        for run in (alone, killed)
    ]
    results = [RunFolder(run).read_manifest()["result"] for run in (alone, killed)]
    weights = [[load_file(run / name / "model.safetensors") for name in ("best", "last")] for run in (alone, killed)]
    return (
        traces[0] == traces[1]
        and results[0] == results[1]
        and all(torch.equal(a[name], b[name]) for a, b in zip(*weights, strict=True) for name in a)
    )


def main() -> None:
    """Kill by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=2000, help="long enough that the run outlives the kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = crash(Path(folder), arguments.kills, steps=arguments.steps, seed=arguments.seed)
    result = asdict(report) | {
        "steps": arguments.steps, "seed": arguments.seed, "seconds": round(time.perf_counter() - started),
        "date": datetime.now(UTC).date().isoformat(), "torch": torch.__version__,
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    sys.exit(not report.identical)


if __name__ == "__main__":
    main()
