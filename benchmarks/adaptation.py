"""Adapt an encoder to the documents of a domain in several ways, and score each with labels and without.

Training sees documents alone: no query, and none of the documents that the label-free probe holds out. Each run adds
one line to RESULTS, and the reciprocal rank of each query to the folder of the same name; a run that RESULTS has is
not repeated. The recipes of sentence-transformers train for as many seconds as the arm ``sentence`` of the same seed.

    python benchmarks/adaptation.py RESULTS.jsonl DOMAIN [--encoder packaged-minilm] [--arms start sentence host-tsdae]
        [--seeds 0 1 2] [--steps 240] [--sts FOLDER] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from adaptation_arms import COMMON, OURS, REFERENCE, UNTRAINED, Trained, train_ours, untrained
from adaptation_arms import write_text as write_training_text
from adaptation_domain import Yardstick, load_domain
from adaptation_host import HOST, train_host
from harness import environment

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.errors import Stopped
from smoothcse.evaluation.sts_tasks import load_tasks, sample_pairs

ARMS = (*UNTRAINED, *OURS, *HOST)
KEY = ("domain", "encoder", "arm", "seed", "planned_steps")

Row = dict[str, Any]


def main() -> None:
    """Run what is missing, one run after the other."""
    arguments = parse()
    quiet_libraries()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    domain = load_domain(arguments.domain, arguments.held_out, arguments.limit)
    tasks = [sample_pairs(task, arguments.sts_pairs) for task in load_tasks(arguments.sts)] if arguments.sts else []
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        text = write_training_text(Path(folder), domain.text)
        yardstick = Yardstick(domain, text, COMMON["max_length"], tasks, arguments.precision)
        for arm, seed in planned(arguments):
            key = [domain.name, encoder_name(arguments.encoder), arm, seed, arguments.steps]
            if not any([row[name] for name in KEY] == key for row in read_rows(arguments.results)):
                row = dict(zip(KEY, key, strict=True))
                append(arguments.results, row | attempt(arguments, row, yardstick))


def parse() -> argparse.Namespace:
    """Return the arguments; a quick look replaces those of size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="file of results, JSON lines; it is made if it is missing")
    parser.add_argument("domain", type=Path, help="folder in BEIR's layout")
    parser.add_argument("--encoder", default="packaged-minilm", help="encoder to start from")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of training")
    parser.add_argument("--steps", type=int, default=240, help="training steps of our arms")
    parser.add_argument("--batch-size", type=int, help=f"texts per step of our arms [{COMMON['batch_size']}]")
    parser.add_argument("--seconds", type=float, help=f"seconds of the host's recipes [those of the arm {REFERENCE}]")
    parser.add_argument("--held-out", type=int, default=300, help="documents of the probe")
    parser.add_argument("--limit", type=int, help="documents of the domain to keep")
    parser.add_argument("--sts", type=Path, help="folder of STS data in SentEval's layout; without it, no STS")
    parser.add_argument("--sts-pairs", type=int, default=300, help="pairs per STS task")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="arithmetic of scoring")
    parser.add_argument("--threads", type=int, help="threads of torch")
    parser.add_argument("--scratch", type=Path, help="folder for the run in progress [the system's]")
    parser.add_argument("--quick", action="store_true", help="2 steps, 200 documents, 40 of them held out")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(steps=2, limit=200, held_out=40, sts_pairs=20, batch_size=8)
    return arguments


def planned(arguments: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Yield arm and seed of each run: seed by seed, ours before the host's, whose time they determine."""
    for number, seed in enumerate(arguments.seeds):
        for arm in sorted(arguments.arms, key=ARMS.index):
            if arm not in UNTRAINED or number == 0:
                yield arm, 0 if arm in UNTRAINED else seed


def encoder_name(encoder: str) -> str:
    """Return the name of an encoder without its folder."""
    return Path(encoder).name


# ---- one run ----------------------------------------------------------------------------------------------------


def attempt(arguments: argparse.Namespace, row: Row, yardstick: Yardstick) -> Row:
    """Train and score one run, and save its reciprocal ranks; return what it found, or why it failed."""
    started = time.perf_counter()
    try:
        trained = run_arm(arguments, row, yardstick)
        training = time.perf_counter() - started
        found, ranks = yardstick.score(trained.model)
    except Stopped:  # by a signal: the run is repeated
        raise
    except Exception as error:  # of any library: what a recipe does not support is a result as well
        print(f"{name_of(row)}: {type(error).__name__}: {error}", flush=True)
        return {"failed": f"{type(error).__name__}: {error}"[:500], "environment": environment()}
    save_ranks(ranks_file(arguments.results, row), ranks)
    total = time.perf_counter() - started
    scores = " ".join(f"{way} {value:.2f}" for way, value in found["mrr"].items())
    print(
        f"{name_of(row)}: {scores}, {trained.steps} steps in {trained.seconds:.0f} s, {total:.0f} s in all", flush=True
    )
    return {
        "seconds": trained.seconds,
        "steps": trained.steps,
        "training_with_loading_seconds": training,
        "total_seconds": total,
        "peak_memory_mb": trained.peak_memory_mb,
        **found,
        "environment": environment(),
    }


def run_arm(arguments: argparse.Namespace, row: Row, yardstick: Yardstick) -> Trained:
    """Train the arm of a row."""
    arm, seed = row["arm"], row["seed"]
    if arm in UNTRAINED:
        return untrained(arm, arguments.encoder)
    if arm in OURS:
        changes = {"batch_size": arguments.batch_size} if arguments.batch_size else {}
        return train_ours(arm, arguments.encoder, yardstick.text, seed, arguments.steps, changes)
    seconds = arguments.seconds or reference_seconds(arguments.results, row)
    return train_host(arm, arguments.encoder, yardstick.text, seed, seconds)


def reference_seconds(results: Path, row: Row) -> float:
    """Return the training time of the reference arm of the same domain, encoder, seed and steps."""
    wanted = [*(row | {"arm": REFERENCE}).values()]
    for known in read_rows(results):
        if [known[name] for name in KEY] == wanted and "failed" not in known:
            return float(known["seconds"])
    raise SystemExit(f"{name_of(row)} trains as long as the arm {REFERENCE}: run that first, or give --seconds.")


# ---- results ----------------------------------------------------------------------------------------------------


def name_of(row: Row) -> str:
    """Return the name of a run, for its files and messages."""
    return "-".join(str(row[name]) for name in KEY)


def ranks_file(results: Path, row: Row) -> Path:
    """Return the file of the reciprocal ranks of a run."""
    return results.with_suffix("") / f"{name_of(row)}.npz"


def save_ranks(path: Path, ranks: dict[str, Any]) -> None:
    """Write arrays, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **ranks)
    partial.replace(path)


def read_rows(results: Path) -> list[Row]:
    """Return the runs so far; a last line that was cut off is left out."""
    if not results.exists():
        return []
    *lines, _ = results.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def append(results: Path, row: Row) -> None:
    """Add a line, in place of a last one that was cut off, and wait until it is on the disk."""
    results.parent.mkdir(parents=True, exist_ok=True)
    results.touch()
    with results.open("r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)
        file.write((json.dumps(row) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main()
