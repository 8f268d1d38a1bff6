"""Run everything that needs a GPU, in one command and a limited time: tests, training steps, candidates, encoding.

Each part is a process of its own. All start at once and import their libraries; then they take turns. A part gets its
share of the time left, ends itself in time, and is stopped after that. A part for which no time is left is named. The
results go to benchmarks/results/NAME_gpu.json, after each measurement; the exit code is 1 if a part failed.

    python benchmarks/gpu.py [--minutes 10] [--parts tests steps candidates encoding] [--quick]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
LEAST = 5.0  # seconds for which a part is started
TO_FINISH = 10.0  # seconds between the end of a part's own budget and the moment at which it is stopped


@dataclass(frozen=True)
class Part:
    """A part of the command.

    Attributes:
        module: Benchmark to run, or ``pytest``.
        share: Share of the time left, relative to the parts that follow, which get what it does not use.
        arguments: Arguments of the benchmark.
        keeps_time: Whether it takes ``--seconds``.
        reads_model: Whether it takes ``--model``.
    """

    module: str
    share: float
    arguments: tuple[str, ...]
    keeps_time: bool = False
    reads_model: bool = False


STEPS = ("--batch", "64", "512", "4096", "--precision", "bf16", "defaults", "--repeats", "2")
PARTS = {
    "tests": Part("pytest", 0.35, ("-q", "-p", "no:cacheprovider", "tests/training/test_gpu.py")),
    "steps": Part("training_step", 0.45, STEPS, keeps_time=True, reads_model=True),
    "candidates": Part("gpu_candidates", 0.3, (), keeps_time=True, reads_model=True),
    "encoding": Part("encoding", 0.1, ("--sentences", "8000", "--repeats", "2"), reads_model=True),
}


def main() -> None:
    """Run the parts, print a table and exit with 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="time for all parts")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts to run")
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument("--models", nargs="+", help="encoders of the steps and candidates, see training_step.py")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    waiting = {name: Waiting(PARTS[name].module) for name in arguments.parts}
    try:
        from harness import first_device, show  # torch, which the parts are importing at the same time

        if first_device() != "cuda":
            sys.exit("There is no CUDA device here, so nothing was run.")
        rows = take_turns(waiting, arguments, end)
    finally:
        for part in waiting.values():
            part.stop()
    show("Parts", ["part", "result", "seconds"], [[name, result, f"{seconds:.0f}"] for name, result, seconds in rows])
    sys.exit(1 if any(result.startswith("failed") for _, result, _ in rows) else 0)


def take_turns(waiting: dict[str, Waiting], arguments: argparse.Namespace, end: float) -> list[tuple[str, str, float]]:
    """Run the parts one after the other; return name, result and seconds of each, and of the imports."""
    started = end - 60 * arguments.minutes
    for part in waiting.values():
        part.until_ready(end)
    rows = [("imports", "ok", time.monotonic() - started)]
    shares = [PARTS[name].share for name in waiting]
    for n, (name, part) in enumerate(waiting.items()):
        before = time.monotonic()
        limit = (end - before) * shares[n] / sum(shares[n:])
        print(f"\n== {name}: {before - started:.0f} s elapsed, {end - before:.0f} s left, {limit:.0f} s at most")
        sys.stdout.flush()
        result = "left out" if limit < LEAST else part.run(arguments_of(PARTS[name], arguments, limit), limit)
        part.stop()
        rows.append((name, result, time.monotonic() - before))
    return rows


class Waiting:
    """The process of a part, which imports its libraries and waits for its arguments.

    Args:
        module: Benchmark to run, or ``pytest``.
    """

    def __init__(self, module: str) -> None:
        environment = {"COLUMNS": "118"} | os.environ | {"PYTHONUNBUFFERED": "1", "TQDM_DISABLE": "1"}
        environment["TMPDIR"] = scratch()
        self.ready, inherited = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "gpu.py"), "--child", module, str(inherited)],
            stdin=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=environment,
            pass_fds=[inherited],
            start_new_session=True,
        )
        os.close(inherited)

    def until_ready(self, end: float) -> None:
        """Wait until the libraries are imported or the process has ended, but not after a time."""
        select.select([self.ready], [], [], max(0.0, end - time.monotonic()))

    def run(self, arguments: Sequence[str], limit: float) -> str:
        """Give the process its arguments and wait for its end; return the result."""
        try:
            self.process.communicate(json.dumps(list(arguments)) + "\n", timeout=limit)
        except subprocess.TimeoutExpired:
            return f"failed: stopped after {limit:.0f} s"
        return "ok" if self.process.returncode == 0 else f"failed: exit code {self.process.returncode}"

    def stop(self) -> None:
        """End the process and those that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def arguments_of(part: Part, arguments: argparse.Namespace, limit: float) -> list[str]:
    """Return the arguments of a part that has some seconds."""
    found = list(part.arguments)
    if part.keeps_time:
        found += ["--seconds", f"{max(1.0, limit - TO_FINISH):.0f}"]
        found += ["--models", *arguments.models] if arguments.models else []
    if part.reads_model:
        found += ["--model", arguments.model]
    if arguments.quick and part.module != "pytest":
        found.append("--quick")
    return found


def scratch() -> str:
    """Return a folder for models: in memory where there is room, since the steps write them several times."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 30e9
    return os.environ.get("TMPDIR") or (str(memory) if roomy else "/tmp")


def child(module: str, ready: int) -> None:
    """Import a part's libraries, say so, wait for its arguments on standard input, and run it."""
    if module == "pytest":
        import smoothcse.training  # noqa: F401
    part = importlib.import_module(module)
    os.close(ready)
    line = sys.stdin.readline()
    if not line:  # left out
        return
    arguments = json.loads(line)
    if module == "pytest":
        sys.exit(part.main(arguments))
    sys.argv = [module, *arguments]
    part.main()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]))
    else:
        main()
