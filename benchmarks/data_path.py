"""Measure the throughput of the data path and the time from the start of a command to the first step.

The first table has sentences per second for reading, cleaning and de-duplicating, for tokenising once (both into an
empty cache), for building batches from the token ids, and for tokenising each batch as sentence-transformers does. The
second has the seconds until ``--help`` is printed, until the package is imported, and until a run with a real encoder
has scored the start, taken its first step, and ended.

    python benchmarks/data_path.py [--repeats 3] [--model packaged-minilm] [--quick]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from datasets import Dataset
from harness import SHARED, keep, show, spread
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch.utils.data import DataLoader

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath.token_ids import tokenised_once

MAX_LENGTH = 32
EVENTS = {"eval_": "train: until the start is scored", '"loss"': "train: until the first step"}
"""Name of the event after which each word stands in ``metrics.jsonl``."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="number of rounds")
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    repeats = 1 if arguments.quick else arguments.repeats
    text = SHARED / "data" / "corpus" / "wiki_sentences.txt"
    with tempfile.TemporaryDirectory() as folder:
        if arguments.quick:
            lines = text.read_text(encoding="utf-8").splitlines()[:500]
            text = Path(folder) / "text.txt"
            text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        model = build_encoder(arguments.model, "cls", max_length=None)
        speed_rounds, start_rounds = [], []
        for number in range(repeats):
            os.environ["SMOOTHCSE_CACHE"] = f"{folder}/cache{number}"
            starts = {"--help": seconds("-m", "smoothcse", "--help"), "import": seconds("-c", "import smoothcse")}
            speed_rounds.append(path_speeds(text, model))
            start_rounds.append(starts | run_of_one_step(text, arguments.model, Path(folder, "run")))
        speeds, starts = by_name(speed_rounds), by_name(start_rounds)
    show("Data path", ["stage", "sentences per second"], [[name, spread(v, 0)] for name, v in speeds.items()])
    show("Start-up", ["event", "seconds"], [[name, spread(v)] for name, v in starts.items()])
    found = {"sentences_per_second": speeds, "start_up_seconds": starts}
    keep("data_path", found | {"medians": {name: median(v) for name, v in (speeds | starts).items()}}, arguments.quick)


def by_name(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return the values of all rounds under each name."""
    return {name: [values[name] for values in rounds] for name in rounds[0]}


def path_speeds(text: Path, model: SentenceTransformer) -> dict[str, float]:
    """Return sentences per second of each stage."""
    started = time.perf_counter()
    dataset = load_sentences(text).dataset
    read = time.perf_counter()
    ids, collate = tokenised_once(dataset, model, MAX_LENGTH)
    tokenised = time.perf_counter()
    host = SentenceTransformerDataCollator(model.preprocess, max_length=MAX_LENGTH)
    return {
        "read, clean, de-duplicate": len(dataset) / (read - started),
        "tokenise once": len(dataset) / (tokenised - read),
        "batches of token ids": len(dataset) / collating(ids, collate),
        "batches tokenised anew, as sentence-transformers does": len(dataset) / collating(dataset, host),
    }


def collating(dataset: Dataset, collate: Callable[[list[dict[str, Any]]], Any]) -> float:
    """Return the seconds it takes to build all batches."""
    started = time.perf_counter()
    for _ in DataLoader(dataset, batch_size=64, shuffle=True, collate_fn=collate):
        pass
    return time.perf_counter() - started


def run_of_one_step(text: Path, model: str, output: Path) -> dict[str, float]:
    """Return the seconds until a run has scored the start, until its first step is logged, and until it ends."""
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "smoothcse", "train", str(text), "--model", model, "--pooling", "cls"]
    command += ["--max-steps", "1", "--log-steps", "1", "--output", str(output)]
    started, seen = time.perf_counter(), {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None:
            lines = (output / "metrics.jsonl").read_text() if (output / "metrics.jsonl").is_file() else ""
            for word, name in EVENTS.items():
                if word in lines:
                    seen.setdefault(name, time.perf_counter() - started)
            time.sleep(0.02)
    if run.returncode:
        raise subprocess.CalledProcessError(run.returncode, command)
    return seen | {"train: a whole run of one step": time.perf_counter() - started}


def seconds(*arguments: str) -> float:
    """Return the wall time of a Python command."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
