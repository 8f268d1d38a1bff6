"""Kill training runs with -9 again and again, resume them each time, and compare them with one left alone.

    python tests/crash/crash.py --kills 100 [--only plain "two ranks"] [--output tests/crash/results.json]

The kills are shared by the kinds of run in ``KINDS``: each of the methods, and each way in which a run is computed. A
life begins where the last checkpoint lies and ends after a random time, so that the kill falls into a step, an
evaluation, the writing of a checkpoint, of its checksums, of ``best`` or of ``metrics.jsonl``; one in ten falls into
the start, where a life looks for the newest checkpoint. Each life is checked: what was the newest intact checkpoint
before it may not be lost. A run that comes to its end is compared, and the next one begins.

Of two kinds the other process is not a later life. ``INTRUDER`` has a second process use the folder of each life: it
must be refused. ``OLDER`` begins each run with the code of the revision ``BEFORE``, from the repository's history;
today's code must end it as that code alone would have, or refuse.
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
import socket
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

MEAN_LIFE = 0.7  # seconds of training between kills; a checkpoint is due every few hundredths of one
LONGEST_MOURNING = 60  # seconds that a rank may outlive another
EARLY = 0.1  # of the kills fall before the first step of their life
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
"""Fields of the configuration by kind of run; each has checkpoints in the middle of its epochs."""

INTRUDER = "two processes in one folder"
OLDER = "begun by an older revision"
KINDS |= {INTRUDER: {}, OLDER: {}}

BEFORE = "085e4fb"
"""The last revision before folders were locked and inputs compared."""

REFUSED = 42
"""Exit code of a process that was refused because another one holds the folder."""

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
    """What came of the kills.

    Attributes:
        kills: that hit a living run.
        fell_into: what the run was doing then, how often.
        torn: kills that left a checkpoint unfinished.
        one_rank: kills of one rank, after which the other had to end by itself.
        runs: that came to their end.
        identical: how many of these had the losses, scores, choice and weights of the run left alone, bit for bit.
        refused: intruders, and runs of an older revision, that were refused in a sentence.
    """

    kills: int = 0
    fell_into: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PLACES, 0))
    torn: int = 0
    one_rank: int = 0
    runs: int = 0
    identical: int = 0
    refused: int = 0


class Lives:
    """Starts a run's processes from one that has imported everything, which takes no time.

    Args:
        config: of the run.
        ranks: processes that share a batch.
    """

    def __init__(self, config: dict[str, Any], ranks: int) -> None:
        self.config = config
        self.ranks = ranks
        self.run = RunFolder(config["output"])
        self.place = RawValue(c_int, 0)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["smoothcse.training.run", "transformers.models.bert.modeling_bert"])

    def begin(self) -> list[BaseProcess]:
        """Start one, which goes on where the last one was killed."""
        self.place.value = 0
        resume, port = self.run.manifest_file.is_file(), _free_port()
        processes = [
            self.context.Process(target=live, args=(self.config, resume, self.place, rank, self.ranks, port))
            for rank in range(self.ranks)
        ]
        for process in processes:
            process.start()
        return processes

    def end(self, processes: list[BaseProcess]) -> None:
        """Wait for the end that a run comes to by itself."""
        for process in processes:
            process.join()
            assert process.exitcode == 0, "a life ended by itself, and not well"

    def intrude(self, holder: BaseProcess, options: dict[str, bool]) -> bool:
        """Use the folder while a life holds it; say whether that was refused, as it must be while that one lives."""
        intruder = self.context.Process(target=intrude, args=(self.config, options))
        intruder.start()
        intruder.join()
        assert intruder.exitcode == REFUSED or holder.exitcode is not None, "two processes wrote to one folder"
        return intruder.exitcode == REFUSED

    def wait_for_a_step(self, processes: list[BaseProcess]) -> None:
        """Return once it trains, or has ended."""
        while self.place.value == 0 and all(process.exitcode is None for process in processes):
            time.sleep(0.005)


def crash(folder: Path, kind: str, kills: int, *, steps: int, seed: int = 0) -> Report:
    """Let a run be, kill others of its kind ``kills`` times, and compare each that comes to its end.

    Args:
        folder: to work in.
        kind: of run, a name in ``KINDS``.
        kills: how many.
        steps: of a run.
        seed: of the moments.

    Raises:
        AssertionError: if a kill lost an intact checkpoint.
    """
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(sentences(64)) + "\n", encoding="utf-8")
    values = {"corpus": str(corpus), "model": save_tiny_model(folder / "model"), "batch_size": 8, "precision": "fp32"}
    values |= {"max_steps": steps, "epochs": 100, "eval_steps": 2, "log_steps": 1, "seed": 1, "learning_rate": 1e-3}
    values |= KINDS[kind]
    if kind == OLDER:
        return crash_across_revisions(folder, values, kills, seed)
    ranks = 2 if kind.startswith("two ranks") else 1
    alone = Lives({**values, "output": str(folder / "alone")}, ranks)
    alone.end(alone.begin())

    lives, moments, report = Lives({**values, "output": str(folder / "killed")}, ranks), random.Random(seed), Report()
    while report.kills < kills or not lives.run.finished:
        if report.kills < kills:
            _live_and_die(lives, moments, report, intruder=kind == INTRUDER)
        else:
            lives.end(lives.begin())
        if lives.run.finished:
            report.runs += 1
            report.identical += same(alone.run.path, lives.run.path)
            if report.kills < kills:
                shutil.rmtree(lives.run.path)
    return report


def _live_and_die(lives: Lives, moments: random.Random, report: Report, *, intruder: bool) -> None:
    run = lives.run
    before = run.latest_checkpoint()
    processes = lives.begin()
    if intruder or moments.random() > EARLY:
        lives.wait_for_a_step(processes)
    if intruder:
        report.refused += lives.intrude(processes[0], moments.choice(INTRUSIONS))
    processes[0].join(moments.expovariate(1 / MEAN_LIFE))
    if processes[0].exitcode is not None:
        lives.end(processes)
        return
    moments.shuffle(processes)
    place = PLACES[lives.place.value]
    killed = processes[:1] if len(processes) > 1 and moments.random() < 0.5 else processes
    for process in killed:
        process.kill()
    for process in processes:
        process.join(LONGEST_MOURNING)
        assert process.exitcode is not None, "a rank waits for one that is dead"
    after = run.latest_checkpoint()
    assert before is None or (after is not None and step_of(after) >= step_of(before)), "a checkpoint was lost"
    report.kills += 1
    report.fell_into[place] += 1
    report.one_rank += len(killed) < len(processes)
    report.torn += any(step_of(path) > (step_of(after) if after else -1) for path in run.checkpoints.glob("ch*"))


def live(config: dict[str, Any], resume: bool, place: Any, rank: int, ranks: int, port: int) -> None:
    """Be a run, or one rank of it, until the end, or until killed; say where it is."""
    if ranks > 1:  # as torchrun would
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "SMOOTHCSE_CPU": "1"}
        os.environ |= {"LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    multiprocessing.set_start_method("fork", force=True)  # of its workers, as the command has it
    if rank == 0:
        _tell_place(place)
    quiet_libraries()
    train(make_config(config), resume=resume, console=QUIET)


def intrude(config: dict[str, Any], options: dict[str, bool]) -> None:
    """Be a second process in the folder of a run; exit with ``REFUSED`` if that is what happens."""
    quiet_libraries()
    try:
        train(make_config(config), **options, console=QUIET)
    except SmoothCSEError as error:
        sys.exit(REFUSED if "is in use by process" in str(error) else 1)


def crash_across_revisions(folder: Path, values: dict[str, Any], kills: int, seed: int) -> Report:
    """Begin runs with the code of ``BEFORE``, kill them, and go on with that of today.

    Raises:
        LookupError: If this is no checkout with that revision in its history.
    """
    source, moments, report = older_source(folder), random.Random(seed), Report()
    assert _train_by(source, {**values, "output": str(folder / "alone")}).wait() == 0, "the older code does not run"
    while report.kills < kills:
        run = RunFolder(folder / f"killed-{report.runs}")
        process = _train_by(source, {**values, "output": str(run.path)})
        while process.poll() is None and not any(run.checkpoints.glob("*/seal.json")):
            time.sleep(0.01)
        time.sleep(moments.expovariate(1 / MEAN_LIFE) / 2)
        report.kills += process.poll() is None
        process.kill()
        process.wait()
        report.runs += 1
        try:
            train(make_config({**values, "output": str(run.path)}), resume=True, console=QUIET)
            report.identical += same(folder / "alone", run.path)
        except SmoothCSEError:
            report.refused += 1
            report.identical += 1  # nothing is wrong with that
    return report


def older_source(folder: Path) -> Path:
    """Return the source folder of the revision ``BEFORE``, taken from the repository's history.

    Raises:
        LookupError: If the history is not here.
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
    """Have the program's own functions note that they are at work."""

    def noting(original: Callable[..., Any], number: int) -> Callable[..., Any]:
        @functools.wraps(original)
        def noted(*args: Any, **kwargs: Any) -> Any:
            before = place.value
            place.value = number if before else before  # what the start does is the start
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


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def same(alone: Path, killed: Path) -> bool:
    """Whether two runs gave the same losses, scores, choice and weights, bit for bit."""
    traced = ("step", "loss", "eval_dev_score")
    traces = [
        [{k: v for k, v in entry.items() if k in traced} for entry in RunFolder(run).metrics()]
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
    """Kill by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="of all kinds together [100]")
    parser.add_argument("--steps", type=int, default=40, help="of each run [40]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(KINDS), help="kinds of run [all]; the others' results stay")
    parser.add_argument("--output", type=Path, help="JSON file of results")
    arguments = parser.parse_args()
    kinds = arguments.only or list(KINDS)
    each = -(-arguments.kills // len(kinds))
    found: dict[str, Any] = {}
    if arguments.only and arguments.output and arguments.output.is_file():
        found = json.loads(arguments.output.read_text(encoding="utf-8"))["kinds"]
    for kind in track(kinds, "killing", console=Console(stderr=True), disable=not sys.stderr.isatty()):
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
