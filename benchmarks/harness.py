"""Shared parts of the benchmarks: alternating timings, environment, separate processes, and JSON results."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from smoothcse.encoders.precision import has_fast_bf16

RESULTS = Path(__file__).parent / "results"
SHARED = Path(os.environ.get("SMOOTHCSE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
Seconds = dict[str, list[float]]

REHEARSAL = "SMOOTHCSE_REHEARSE_GPU"
"""Environment variable for tests: if set, the benchmarks do on the CPU what they do on a GPU."""


LOADED_VARIABLE = "SMOOTHCSE_LOADED"
"""Environment variable: if set, benchmarks measure on a machine that other programs use, too."""


class Budget:
    """Time that a benchmark may take.

    Args:
        seconds: Seconds from now; None for no limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.started = time.perf_counter()
        self.seconds = float("inf") if seconds is None else seconds

    def spent(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self.started

    def left(self) -> float:
        """Return the seconds left; infinite without a limit."""
        return self.seconds - self.spent()

    def __str__(self) -> str:
        limit = "" if self.seconds == float("inf") else f", {max(0.0, self.left()):.0f} s left"
        return f"{self.spent():.0f} s{limit}"


def alternate(ways: Mapping[str, Callable[[], float | None]], repeats: int) -> Seconds:
    """Time each function in turn, several times, so that a slow minute of the machine affects all of them.

    After each round, the number of rounds and the time left are printed to standard error.

    Args:
        ways: Functions by name. A function may return its own time in seconds.
        repeats: Number of rounds. With more than one, the machine must be idle.

    Returns:
        Seconds per round, by name.
    """
    if repeats > 1:
        require_idle_machine()
    seconds: Seconds = {name: [] for name in ways}
    whole = Budget()
    for number in range(1, repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            own = way()
            seconds[name].append(time.perf_counter() - started if own is None else own)
        if number < repeats:
            left = whole.spent() / number * (repeats - number)
            print(f"round {number} of {repeats}, about {left:.0f} s left", file=sys.stderr, flush=True)
    return seconds


@cache
def require_idle_machine() -> None:
    """End the benchmark if other programs use more than a tenth of the processors, unless LOADED_VARIABLE is set."""
    before = cpu_times()
    time.sleep(1)
    idle, whole = (after - first for after, first in zip(cpu_times(), before, strict=True))
    busy = 1 - idle / whole
    if busy > 0.1 and not os.environ.get(LOADED_VARIABLE):
        raise SystemExit(
            f"Other programs use {busy:.0%} of the processors, and timings would be wrong; stop them, or set "
            f"{LOADED_VARIABLE}=1 to measure all the same."
        )


def clock() -> float:
    """Return the time in seconds; on a loaded machine the processor time per thread, which others do not take."""
    loaded = os.environ.get(LOADED_VARIABLE) and first_device() == "cpu"
    return time.process_time() / torch.get_num_threads() if loaded else time.perf_counter()


def cpu_times() -> tuple[int, int]:
    """Return the idle time and the whole time of all processors since the system started, in clock ticks."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


def ratios(seconds: Seconds, ours: str, peer: str) -> list[float]:
    """Return the peer's time divided by ours, for each round."""
    return [b / a for a, b in zip(seconds[ours], seconds[peer], strict=True)]


def environment() -> dict[str, Any]:
    """Return date, hardware, versions and revision."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "load_average": round(os.getloadavg()[0], 1),
        "loaded": bool(os.environ.get(LOADED_VARIABLE)),
        "versions": {name: metadata.version(name) for name in ("torch", "sentence-transformers", "transformers")},
        "commit": revision(),
    }


def revision() -> str:
    """Return the variable SMOOTHCSE_COMMIT if set, else git's description of the repository, else ``unknown``."""
    if named := os.environ.get("SMOOTHCSE_COMMIT"):
        return named
    command = ["git", "describe", "--always", "--dirty"]
    try:
        described = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return "unknown"
    return described.stdout.strip()


def processor() -> str:
    """Return the processor's name and number of cores."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def first_device() -> str:
    """Return the kind of device to benchmark: ``cuda`` if available or rehearsed, else ``cpu``."""
    return "cuda" if os.environ.get(REHEARSAL) else tensor_device()


def tensor_device() -> str:
    """Return the device of the tensors: ``cuda`` if available, else ``cpu``, also in a rehearsal."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def wait_for_device() -> None:
    """Wait until a GPU has finished its work, so that a clock read afterwards includes it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matmul_peak(dtype: torch.dtype = torch.float32, quick: bool = False) -> float:
    """Return the highest measured GFLOP/s of a square matrix product on the device of the benchmarks."""
    device = tensor_device()
    size = 8192 if device == "cuda" else 2048  # on a GPU, launching a small product takes longer than computing it
    size = 128 if quick else size
    a = torch.randn(size, size, device=device).to(dtype)
    best = 0.0
    for _ in range(8):
        wait_for_device()
        started = time.perf_counter()
        a @ a
        wait_for_device()
        best = max(best, 2 * size**3 / (time.perf_counter() - started) / 1e9)
    return best


def precisions() -> list[str]:
    """Return the precisions to measure: fp32, and bf16 if the hardware supports it."""
    return ["fp32", "bf16"] if has_fast_bf16(first_device()) else ["fp32"]


def in_fresh_process(script: str, *arguments: str) -> dict[str, Any]:
    """Run a benchmark with ``--child`` in a separate process and return the JSON object that it prints."""
    command = [sys.executable, script, "--child", *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    if output.returncode:
        return {"failed": output.returncode, "reason": output.stderr.strip().splitlines()[-1:]}
    return json.loads(output.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def answer_of(process: subprocess.Popen[str]) -> Any:
    """Return the value of the next line of JSON that a process prints; end the benchmark if it has ended."""
    line = process.stdout.readline()  # type: ignore[union-attr]
    if not line:
        raise SystemExit(f"{' '.join(map(str, process.args))} has ended; see its message above.")  # type: ignore[arg-type]
    return json.loads(line)


def keep(name: str, found: Mapping[str, Any], quick: bool) -> None:
    """Write results to the folder ``results``, with the suffix ``_gpu`` on a GPU; a quick run writes nothing."""
    if quick:
        return
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"environment": environment(), **found}, indent=1)
    suffix = "_gpu" if first_device() == "cuda" else ""
    (RESULTS / f"{name}{suffix}.json").write_text(text + "\n", encoding="utf-8")


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> None:
    """Print a table."""
    table = Table(title=title, caption=caption or None)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return the median and the range."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
