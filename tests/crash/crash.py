"""Kill training runs with SIGKILL, resume them, and compare each with an uninterrupted run.

    python tests/crash/crash.py --kills 100 [--only plain "two ranks"] [--output tests/crash/results.json]

The kills are divided among the kinds of run in ``KINDS``: each method, and each way to compute a run. An attempt
(class ``Attempts``) resumes from the last checkpoint and is killed after a random time, so the kill falls into a step,
an evaluation, or the writing of a checkpoint, its checksums, ``best`` or ``metrics.jsonl``. One kill in ten falls into
the start, when the attempt looks for the newest checkpoint. After each attempt, the newest intact checkpoint from
before must still exist. When a run finishes, it is compared, and the next one begins.

Two kinds involve another process. With ``INTRUDER``, a second process uses the folder during each attempt, and must be
refused. With ``OLDER``, each run begins with the code of the revision ``BEFORE``, from the repository's history; the
current code must finish it exactly as the older code would have, or refuse it.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from ctypes import c_int
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformerTrainer

from forked import FORKED, as_rank, free_port
from smoothcse._utils.quiet import quiet_libraries
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.table import METHODS
from smoothcse.runs import model_folder
from smoothcse.runs.checkpoints import WriteChecksums, step_of
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import read_manifest
from smoothcse.training import make_config, train
from smoothcse.training.callbacks import NoiseStep
from smoothcse.training.selection import CriterionEvaluator
from tiny import save_tiny_model, sentences

MEAN_SECONDS = 0.7  # mean seconds of training before a kill; checkpoints are a few hundredths of a second apart
LONGEST_WAIT = 60  # seconds within which a rank must exit after another was killed
EARLY = 0.1  # share of the kills before the first step
QUIET = Console(quiet=True)

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gradient caching": {"mini_batch": 40},
    "two workers": {"workers": 2},
    "two ranks": {},
    "two ranks, esimcse": {"method": "esimcse"},
    "two ranks, gradient caching": {"mini_batch": 40},
    **{method: {"method": method} for method in METHODS if method != "simcse"},
}
"""Configuration fields by kind of run; each run has checkpoints within its epochs."""

INTRUDER = "two processes in one folder"
OLDER = "begun by an older revision"
KINDS |= {INTRUDER: {}, OLDER: {}}

BEFORE = "085e4fb"
"""The last revision without folder locks and without fingerprints of the inputs."""

REFUSED = 42
"""Exit code of a process that is refused because another process holds the folder."""

INTRUSIONS: tuple[dict[str, bool], ...] = ({}, {"resume": True}, {"overwrite": True})

PLACES = ("start", "step", "evaluation", "checkpoint", "checksums", "model")
_WRAPPED: dict[str, tuple[Any, str]] = {
    "evaluation": (CriterionEvaluator, "__call__"),
    "checkpoint": (SentenceTransformerTrainer, "_save_checkpoint"),
    "checksums": (WriteChecksums, "on_save"),
    "model": (model_folder, "save_model"),
}


@dataclass
class Report:
    """Counts of a crash test.

    Attributes:
        kills: Kills of a running process.
        fell_into: Kills by what the run was doing.
        torn: Kills that left a checkpoint unfinished.
        one_rank: Kills of one rank, after which the other rank had to exit by itself.
        runs: Finished runs.
        identical: Finished runs with the same losses, scores, selected step and weights as the uninterrupted run, bit
            for bit.
        refused: Intruders and runs of an older revision that were refused with a message.
    """

    kills: int = 0
    fell_into: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    torn: int = 0
    one_rank: int = 0
    runs: int = 0
    identical: int = 0
    refused: int = 0


class Attempts:
    """Starts the processes of a run by forking a server that has already imported everything.

    Args:
        config: Configuration of the run.
        ranks: Number of processes that share a batch.
    """

    def __init__(self, config: dict[str, Any], ranks: int) -> None:
        self.config = config
        self.ranks = ranks
        self.run = RunFolder(config["output"])
        self.place = RawValue(c_int, 0)

    def begin(self) -> list[BaseProcess]:
        """Start the run, or resume it after a kill."""
        self.place.value = 0
        resume, port = self.run.manifest_file.is_file(), free_port()
        processes = [
            FORKED.Process(target=run_rank, args=(self.config, resume, self.place, rank, self.ranks, port))
            for rank in range(self.ranks)
        ]
        for process in processes:
            process.start()
        return processes

    def end(self, processes: list[BaseProcess]) -> None:
        """Wait until the run finishes."""
        for process in processes:
            process.join()
            assert process.exitcode == 0, f"the run failed with exit code {process.exitcode}"

    def intrude(self, holder: BaseProcess, options: dict[str, bool]) -> bool:
        """Use the folder from a second process; return whether it was refused, as it must be during a run."""
        intruder = FORKED.Process(target=intrude, args=(self.config, options))
        intruder.start()
        intruder.join()
        if intruder.exitcode != REFUSED:
            holder.join(60)  # it may have finished its run, and released the folder, without having exited yet
            assert holder.exitcode == 0, "two processes wrote to the same folder"
        return intruder.exitcode == REFUSED

    def wait_for_a_step(self, processes: list[BaseProcess]) -> None:
        """Wait until the run trains or has ended."""
        while self.place.value == 0 and all(process.exitcode is None for process in processes):
            time.sleep(0.005)


def crash(folder: Path, kind: str, kills: int, *, steps: int, seed: int = 0) -> Report:
    """Kill and resume runs, and compare each finished run with an uninterrupted one.

    Args:
        folder: Working folder.
        kind: Kind of run, a name in ``KINDS``.
        kills: Number of kills.
        steps: Training steps per run.
        seed: Seed of the times of the kills.

    Raises:
        AssertionError: If an intact checkpoint is lost.
    """
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(sentences(64)) + "\n", encoding="utf-8")
    values = {"corpus": str(corpus), "model": save_tiny_model(folder / "model"), "batch_size": 8, "precision": "fp32"}
    values |= {"max_steps": steps, "epochs": 100, "eval_steps": 2, "log_steps": 1, "seed": 1, "learning_rate": 1e-3}
    values |= KINDS[kind]
    if kind == OLDER:
        return crash_across_revisions(folder, values, kills, seed)
    ranks = 2 if kind.startswith("two ranks") else 1
    alone = Attempts({**values, "output": str(folder / "alone")}, ranks)
    alone.end(alone.begin())

    attempts, moments, report = (
        Attempts({**values, "output": str(folder / "killed")}, ranks),
        random.Random(seed),
        Report(),
    )
    while report.kills < kills or not attempts.run.finished:
        if report.kills < kills:
            _attempt_and_kill(attempts, moments, report, intruder=kind == INTRUDER)
        else:
            attempts.end(attempts.begin())
        if attempts.run.finished:
            report.runs += 1
            report.identical += same(alone.run.path, attempts.run.path)
            if report.kills < kills:
                shutil.rmtree(attempts.run.path)
    return report


def _attempt_and_kill(attempts: Attempts, moments: random.Random, report: Report, *, intruder: bool) -> None:
    run = attempts.run
    before = run.latest_checkpoint()
    processes = attempts.begin()
    if intruder or moments.random() > EARLY:
        attempts.wait_for_a_step(processes)
    if intruder:
        report.refused += attempts.intrude(processes[0], moments.choice(INTRUSIONS))
    processes[0].join(moments.expovariate(1 / MEAN_SECONDS))
    if processes[0].exitcode is not None:
        attempts.end(processes)
        return
    moments.shuffle(processes)
    place = PLACES[attempts.place.value]
    killed = processes[:1] if len(processes) > 1 and moments.random() < 0.5 else processes
    for process in killed:
        process.kill()
    for process in processes:
        process.join(LONGEST_WAIT)
        assert process.exitcode is not None, "a rank waits for a killed one"
    after = run.latest_checkpoint()
    assert before is None or (after is not None and step_of(after) >= step_of(before)), "a checkpoint was lost"
    report.kills += 1
    report.fell_into[place] += 1
    report.one_rank += len(killed) < len(processes)
    report.torn += any(step_of(path) > (step_of(after) if after else -1) for path in run.checkpoints.glob("ch*"))


def run_rank(config: dict[str, Any], resume: bool, place: Any, rank: int, ranks: int, port: int) -> None:
    """Run the training, or one rank of it, and record its current activity in ``place``."""
    if ranks > 1:
        as_rank(rank, ranks, port)
    multiprocessing.set_start_method("fork", force=True)  # start method of the workers, as in the command
    if rank == 0:
        _tell_place(place)
    quiet_libraries()
    train(make_config(config), resume=resume, console=QUIET)


def intrude(config: dict[str, Any], options: dict[str, bool]) -> None:
    """Train in the folder of another run; exit with ``REFUSED`` if the folder is in use."""
    quiet_libraries()
    try:
        train(make_config(config), **options, console=QUIET)
    except SmoothCSEError as error:
        sys.exit(REFUSED if "is in use by process" in str(error) else 1)


def crash_across_revisions(folder: Path, values: dict[str, Any], kills: int, seed: int) -> Report:
    """Begin runs with the code of ``BEFORE``, kill them, and resume them with the current code.

    Raises:
        LookupError: If the history does not contain that revision.
    """
    source, moments, report = older_source(folder), random.Random(seed), Report()
    assert _train_by(source, {**values, "output": str(folder / "alone")}).wait() == 0, "the older code does not run"
    while report.kills < kills:
        run = RunFolder(folder / f"killed-{report.runs}")
        process = _train_by(source, {**values, "output": str(run.path)})
        while process.poll() is None and not any(run.checkpoints.glob("*/seal.json")):
            time.sleep(0.01)
        time.sleep(moments.expovariate(1 / MEAN_SECONDS) / 2)
        report.kills += process.poll() is None
        process.kill()
        process.wait()
        report.runs += 1
        try:
            train(make_config({**values, "output": str(run.path)}), resume=True, console=QUIET)
            report.identical += same(folder / "alone", run.path)
        except SmoothCSEError:
            report.refused += 1
            report.identical += 1  # a refusal is correct, too
    return report


def older_source(folder: Path) -> Path:
    """Return the source folder of the revision ``BEFORE``, extracted from the repository's history.

    Raises:
        LookupError: If the history does not contain that revision.
    """
    repository = Path(__file__).resolve().parents[2]
    archive = subprocess.run(["git", "-C", str(repository), "archive", BEFORE, "src"], capture_output=True)
    if archive.returncode:
        raise LookupError(f"the revision {BEFORE} is not in the history of {repository}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder / "older", filter="data")
    return folder / "older" / "src"


def _train_by(source: Path, values: dict[str, Any]) -> subprocess.Popen[bytes]:
    config = Path(values["output"]).with_suffix(".yaml")
    config.write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "smoothcse", "train", "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(source), "SMOOTHCSE_CPU": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _tell_place(place: Any) -> None:
    """Wrap functions of the package so that they record in ``place`` that they are running."""

    def noting(original: Callable[..., Any], number: int) -> Callable[..., Any]:
        @functools.wraps(original)
        def noted(*args: Any, **kwargs: Any) -> Any:
            before = place.value
            place.value = number if before else before  # before the first step, everything counts as the start
            try:
                return original(*args, **kwargs)
            finally:
                place.value = before

        return noted

    for name, (owner, function) in _WRAPPED.items():
        setattr(owner, function, noting(getattr(owner, function), PLACES.index(name)))
    begin = NoiseStep.on_step_begin

    def begun(*args: Any, **kwargs: Any) -> None:
        place.value = PLACES.index("step")
        begin(*args, **kwargs)

    NoiseStep.on_step_begin = begun  # type: ignore[method-assign]


def same(alone: Path, killed: Path) -> bool:
    """Return whether two runs have the same losses, scores, selected step and weights, bit for bit."""
    # The trainer's last entry, of its durations, is missing where the run was killed after its last checkpoint.
    traced = ("loss", "eval_dev_score")
    traces = [
        [(entry["step"], name, entry[name]) for entry in RunFolder(run).metrics() for name in traced if name in entry]
        for run in (alone, killed)
    ]
    results = [read_manifest(run).result for run in (alone, killed)]
    weights = [[load_file(run / name / "model.safetensors") for name in ("best", "last")] for run in (alone, killed)]
    return (
        traces[0] == traces[1]
        and results[0] == results[1]
        and all(torch.equal(a[name], b[name]) for a, b in zip(*weights, strict=True) for name in a)
    )


def main() -> None:
    """Run the crash test from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="number of kills over all kinds (default: 100)")
    parser.add_argument("--steps", type=int, default=40, help="training steps per run (default: 40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="*", choices=list(KINDS), help="kinds of run (default: all); results of other kinds are kept"
    )
    parser.add_argument("--output", type=Path, help="JSON file of results")
    arguments = parser.parse_args()
    kinds = arguments.only or list(KINDS)
    each = -(-arguments.kills // len(kinds))
    found: dict[str, Any] = {}
    if arguments.only and arguments.output and arguments.output.is_file():
        found = json.loads(arguments.output.read_text(encoding="utf-8"))["kinds"]
    for kind in track(kinds, "kinds of run", console=Console(stderr=True), disable=not sys.stderr.isatty()):
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            report = crash(Path(folder), kind, each, steps=arguments.steps, seed=arguments.seed)
        found[kind] = asdict(report) | {"seconds": round(time.perf_counter() - started)}
        print(kind, json.dumps(found[kind]), flush=True)
        if arguments.output:
            record = {
                "steps": arguments.steps, "seed": arguments.seed, "date": datetime.now(UTC).date().isoformat(),
                "torch": torch.__version__, "kinds": found,
            }  # fmt: skip
            arguments.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(report["identical"] < report["runs"] for report in found.values()))


if __name__ == "__main__":
    main()
