"""Measure memory, open descriptors and threads of a long training, and read its metrics while it runs.

    python benchmarks/long_run.py TEXT [--minutes 60] [--eval-steps 50] [--quick]

The training is the command itself in a separate process, on one thread. Its ``metrics.jsonl`` is read every second, as
`smoothcse report --follow` does. At the end it receives SIGTERM and must leave a checkpoint of its last step.
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

from harness import keep, show
from scipy import stats

from smoothcse.runs.checkpoints import step_of
from smoothcse.runs.folder import RunFolder

READ_EVERY, SAMPLE_EVERY = 1.0, 10.0  # seconds
SETTLING = 1 / 6  # share of the time in which caches and the allocator's pools fill; excluded from the slope
FOREVER = 10_000_000  # steps

Sample = dict[str, float]


def main() -> None:
    """Train, observe and stop; print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="text file to train on")
    parser.add_argument("--minutes", type=float, help="minutes from the first step (default: 60; 1 with --quick)")
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument("--eval-steps", type=int, default=50, help="steps between evaluations and checkpoints")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    minutes = arguments.minutes or (1.0 if arguments.quick else 60.0)
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        with start(run, arguments) as process:
            try:
                wait_for_steps(run, process)
                samples, reads = observe(run, process, minutes * 60)
                stopping = stop(process)
            finally:
                process.kill()
        kept = run.latest_checkpoint()
        last_step = run.metrics()[-1]["step"]
        evaluations = sum("eval_dev_score" in entry for entry in run.metrics())
    found = {
        "corpus": arguments.corpus.name, "model": arguments.model, "eval_steps": arguments.eval_steps,
        "minutes": minutes, "steps": last_step, "evaluations": evaluations, "metrics_reads": reads,
        "growth": growth(samples), "seconds_to_stop": stopping, "exit_code": process.returncode,
        "checkpoint_of_the_last_step": kept is not None and step_of(kept) == last_step,
        "samples": {name: [sample[name] for sample in samples] for name in samples[0]},
    }  # fmt: skip
    report(found)
    keep("long_run", found, arguments.quick)


def start(run: RunFolder, arguments: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start the command on one thread, with more steps than there is time for."""
    flags = {"model": arguments.model, "output": run.path, "eval-steps": arguments.eval_steps, "max-steps": FOREVER}
    options = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
    command = [sys.executable, "-m", "smoothcse", "train", str(arguments.corpus), *options]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)


def wait_for_steps(run: RunFolder, process: subprocess.Popen[bytes]) -> None:
    """Wait until the first loss is logged."""
    while not any("loss" in entry for entry in run.metrics()):
        if process.poll() is not None:
            sys.exit(f"The training ended with exit code {process.returncode} before its first step.")
        time.sleep(READ_EVERY)


def observe(run: RunFolder, process: subprocess.Popen[bytes], seconds: float) -> tuple[list[Sample], int]:
    """Sample the process and read its metrics for some seconds.

    Returns:
        The samples, and the number of times the metrics were read.

    Raises:
        SmoothCSEError: If a line of the metrics cannot be read.
    """
    samples: list[Sample] = []
    started, reads = time.monotonic(), 0
    while (passed := time.monotonic() - started) < seconds:
        if process.poll() is not None:
            sys.exit(f"The training ended with exit code {process.returncode} after {passed:.0f} s.")
        entries = run.metrics()
        reads += 1
        if passed >= len(samples) * SAMPLE_EVERY:
            samples.append({"seconds": round(passed, 1), "step": entries[-1]["step"], **resources(process.pid)})
        time.sleep(READ_EVERY)
    return samples, reads


def resources(pid: int) -> Sample:
    """Return resident memory in MB, open descriptors and threads of a process."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "memory_mb": round(int(status["VmRSS"].split()[0]) / 1024, 2),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(status["Threads"]),
    }


def stop(process: subprocess.Popen[bytes]) -> float:
    """Send SIGTERM to the run and return the seconds until it exits."""
    asked = time.monotonic()
    process.terminate()
    process.wait(600)
    return round(time.monotonic() - asked, 1)


def growth(samples: list[Sample]) -> dict[str, float]:
    """Return the slope of the memory in MB per hour after the settling time, with a 95% interval.

    Neighbouring samples are strongly correlated, so the line is fitted to the medians of each minute.
    """
    end = samples[-1]["seconds"]
    minutes: dict[int, list[float]] = {}
    for sample in samples:
        if sample["seconds"] >= SETTLING * end:
            minutes.setdefault(int(sample["seconds"] // 60), []).append(sample["memory_mb"])
    if len(minutes) < 3:
        return {"minutes": len(minutes)}
    line = stats.linregress([minute / 60 for minute in minutes], [median(values) for values in minutes.values()])
    half = float(stats.t.ppf(0.975, len(minutes) - 2)) * line.stderr
    slope = {"mb_per_hour": line.slope, "low": line.slope - half, "high": line.slope + half}
    return {"minutes": len(minutes), **{name: round(float(value), 2) for name, value in slope.items()}}


def report(found: dict[str, Any]) -> None:
    """Print the results."""
    rows = []
    for name in ("memory_mb", "descriptors", "threads"):
        values = found["samples"][name]
        rows.append([name, *(f"{value:,.0f}" for value in (values[0], min(values), max(values), values[-1]))])
    summary = {name: value for name, value in found.items() if name != "samples"}
    show(f"{found['steps']:,} steps", ["", "first", "lowest", "highest", "last"], rows, caption=str(summary))


if __name__ == "__main__":
    main()
