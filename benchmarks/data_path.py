"""From file to padded batches, and from nothing to the first step.

The first table is sentences per second through reading, cleaning and de-duplicating (a fresh cache), and through
tokenising and padding; the second is seconds until ``--help`` is printed, until the package is imported, and until the
first training step of a real encoder is done.

    python benchmarks/data_path.py [--repeats 3] [--quick]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from harness import SHARED, keep, show, spread
from torch.utils.data import DataLoader

from smoothcse.corpus import load_sentences
from smoothcse.encoder import build_encoder
from smoothcse.quiet import quiet_libraries


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    quiet_libraries()
    repeats = 1 if arguments.quick else arguments.repeats
    text = SHARED / "data" / "corpus" / "wiki_sentences.txt"
    with tempfile.TemporaryDirectory() as folder:
        if arguments.quick:
            lines = text.read_text(encoding="utf-8").splitlines()[:500]
            text = Path(folder) / "text.txt"
            text.write_text("\n".join(lines) + "\n", encoding="utf-8")
        speeds = {"read, clean, de-duplicate": [], "tokenise and pad": []}
        for number in range(repeats):
            os.environ["SMOOTHCSE_CACHE"] = f"{folder}/cache{number}"
            for name, speed in zip(speeds, path_speeds(text), strict=True):
                speeds[name].append(speed)
        starts = {
            "--help": [seconds("-m", "smoothcse", "--help") for _ in range(repeats)],
            "import smoothcse": [seconds("-c", "import smoothcse") for _ in range(repeats)],
            "train, a whole run of one step": [first_step(text, folder) for _ in range(repeats)],
        }
    show("Data path", ["part", "sentences per second"], [[name, spread(v, 0)] for name, v in speeds.items()])
    show("Start-up", ["until", "seconds"], [[name, spread(v)] for name, v in starts.items()])
    found = {"sentences_per_second": speeds, "start_up_seconds": starts}
    keep("data_path", found | {"medians": {name: median(v) for name, v in (speeds | starts).items()}}, arguments.quick)


def path_speeds(text: Path) -> tuple[float, float]:
    """Return sentences per second of both parts."""
    started = time.perf_counter()
    dataset = load_sentences(text).dataset
    read = len(dataset) / (time.perf_counter() - started)
    model = build_encoder("packaged-minilm", "cls", max_length=32)

    def collate(rows: list[dict[str, str]]) -> dict[str, Any]:
        return model.preprocess([row["sentence"] for row in rows])  # type: ignore[no-any-return]

    loader = DataLoader(dataset, batch_size=64, collate_fn=collate)
    started = time.perf_counter()
    for _ in loader:
        pass
    return read, len(dataset) / (time.perf_counter() - started)


def first_step(text: Path, folder: str) -> float:
    """Return the seconds of a run of one step, its start's evaluation and start-up included."""
    command = ["-m", "smoothcse", "train", str(text), "--model", "packaged-minilm", "--pooling", "cls"]
    return seconds(*command, "--max-steps", "1", "--overwrite", "--output", f"{folder}/run")


def seconds(*arguments: str) -> float:
    """Return the wall time of a Python command."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
