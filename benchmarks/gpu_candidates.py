"""Time candidates for a faster training step on a GPU beside the default, in bf16.

The steps are those of gpu_steps.py: bare loops without a trainer, on one batch that stays on the device. The default
pads to the longest text, compiled and captured steps pad to 32 tokens, and packed rows have no padding. Varlen
attention has no dropout of the attention weights, so its step does a little less. All steps alternate in one
process. A candidate that the installed torch lacks, that fails or that takes too long to build is a row with its
reason.

    python benchmarks/gpu_candidates.py [--batch 64 512] [--models bert-base MiniLM] [--repeats 5] [--seconds 60]
        [--limit 25] [--quick]
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from gpu_steps import CANDIDATES, DEFAULT, WARM_UP, Bench, Step
from harness import SHARED, Budget, alternate, keep, matmul_peak, show, spread, tensor_device, wait_for_device
from shapes import SHAPES, encoder_of, useful_gflop
from transformers import TrainingArguments

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences


class OutOfTimeError(BaseException):
    """A candidate took too long to build. No Exception, which compilers catch."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 512], help="batch sizes")
    parser.add_argument("--models", nargs="+", choices=list(SHAPES), default=["bert-base", "MiniLM"], help="encoders")
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of alternating measurements")
    parser.add_argument("--steps", type=int, default=4, help="steps per measurement")
    parser.add_argument("--seconds", type=float, help="build no further candidate after this time")
    parser.add_argument("--limit", type=float, default=25, help="seconds for building a candidate")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    budget = Budget(arguments.seconds)
    quiet_libraries()
    batches, repeats = ([4], 1) if arguments.quick else (arguments.batch, arguments.repeats)
    text = SHARED / "data" / "corpus" / "wiki_sentences.txt"
    sentences: list[str] = load_sentences(text, limit=max(batches), seed=0).dataset["sentence"][:]
    peak = matmul_peak(torch.bfloat16, arguments.quick)
    optimiser = str(TrainingArguments.__dataclass_fields__["optim"].default)
    found: dict[str, Any] = {"matmul_gflops": {"bf16": peak}, "trainers_optimiser": optimiser, "steps": []}
    with tempfile.TemporaryDirectory() as folder:
        for batch, name in product(batches, arguments.models):
            encoder = encoder_of(name, arguments.model, Path(folder), arguments.quick)
            with ExitStack() as stack:
                bench = Bench(encoder, sentences[:batch], stack)
                seconds, failed = measure(bench, budget, arguments.limit, repeats, arguments.steps)
            entry = {"model": name, "batch": batch, "seconds": seconds, "failed": failed}
            entry["peak_share"] = shares(seconds, useful_gflop(encoder, bench.sentences), peak)
            found["steps"].append(entry)
            keep("gpu_candidates", found, arguments.quick)
            report(entry, str(budget))
            free_memory()
    print(f"The trainer's optimiser by default: {optimiser}.")
    if not all(entry["seconds"].get(DEFAULT) for entry in found["steps"]):
        sys.exit("The default step was not measured in each case.")


def measure(
    bench: Bench, budget: Budget, limit: float, repeats: int, steps: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Build all candidates and alternate them; return the seconds per step and the reasons of those without."""
    ways: dict[str, Callable[[], float]] = {}
    failed: dict[str, str] = {}
    longest = 0.0  # of the candidates built so far
    for name, make in CANDIDATES.items():
        if budget.left() <= longest:
            failed[name] = "left out for lack of time"
            continue
        print(f"  building: {name}; {budget}", flush=True)
        started = budget.spent()
        try:
            with at_most(min(limit, max(1.0, budget.left()))):
                step = make(bench)
                seconds_per_step(step, WARM_UP)
            ways[name] = lambda step=step: seconds_per_step(step, steps)  # type: ignore[misc]
        except (Exception, OutOfTimeError) as error:
            failed[name] = one_line(error)
        longest = max(longest, budget.spent() - started)
    try:
        return alternate(ways, repeats), failed
    except Exception as error:  # an error on the device shows up at any later call
        return {}, failed | {name: f"while measuring: {one_line(error)}" for name in ways}


def seconds_per_step(step: Step, count: int) -> float:
    """Run some steps and return their mean time."""
    wait_for_device()
    started = time.perf_counter()
    for _ in range(count):
        step()
    wait_for_device()
    return (time.perf_counter() - started) / count


def one_line(error: BaseException) -> str:
    """Return the kind of an error and the start of its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise :class:`OutOfTimeError` in the context after some time; an alarm that was set before is set again."""

    def stop(number: int, frame: Any) -> None:
        raise OutOfTimeError(f"not ready after {seconds:.0f} s")

    started = time.perf_counter()
    before = signal.signal(signal.SIGALRM, stop)
    alarm, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        left = max(0.01, alarm - (time.perf_counter() - started)) if alarm else 0.0
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, left, interval)


def shares(seconds: dict[str, list[float]], gflop: float, peak: float) -> dict[str, float]:
    """Return the share of the matmul peak by candidate."""
    return {name: gflop / median(values) / peak for name, values in seconds.items()}


def report(entry: dict[str, Any], caption: str) -> None:
    """Print the table of a model and a batch size."""
    base = entry["seconds"].get(DEFAULT)
    rows = []
    for name, values in entry["seconds"].items():
        faster = [a / b for a, b in zip(base, values, strict=True)] if base else []
        milliseconds = spread([1000 * value for value in values])
        rows.append([name, milliseconds, spread(faster) if faster else "", f"{entry['peak_share'][name]:.0%}"])
    rows += [[name, reason[:60], "", ""] for name, reason in entry["failed"].items()]
    title = f"Milliseconds per step: {entry['model']}, batch {entry['batch']}, bf16"
    show(title, ["candidate", "ms", "times the default's speed", "of peak"], rows, caption)


def free_memory() -> None:
    """Free the memory of the models before."""
    gc.collect()
    if tensor_device() == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
