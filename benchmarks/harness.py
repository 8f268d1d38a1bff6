"""What the benchmarks share: alternation, environment, memory of a fresh process, results that machines can read."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
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


def alternate(ways: Mapping[str, Callable[[], float | None]], repeats: int) -> Seconds:
    """Time each way in turn, several times over, so that a slow minute of the machine hits all of them.

    A way that returns a number has timed itself.
    """
    seconds: Seconds = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            own = way()
            seconds[name].append(time.perf_counter() - started if own is None else own)
    return seconds


def ratios(seconds: Seconds, ours: str, peer: str) -> list[float]:
    """Return how many times as long the peer took, round by round."""
    return [b / a for a, b in zip(seconds[ours], seconds[peer], strict=True)]


def environment() -> dict[str, Any]:
    """Return when, on what and with which versions."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    ).stdout.strip()
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "load_average": round(os.getloadavg()[0], 1),
        "versions": {name: metadata.version(name) for name in ("torch", "sentence-transformers", "transformers")},
        "commit": commit,
    }


def processor() -> str:
    """Return the processor's name and what of it is there."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def first_device() -> str:
    """Return what the benchmarks compute on here."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def wait_for_device() -> None:
    """Let a clock that is read next count what a GPU was given to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matmul_peak(dtype: torch.dtype = torch.float32, quick: bool = False) -> float:
    """Return the best GFLOP/s of a square matrix product on this machine's first device."""
    device = first_device()
    size = 8192 if device == "cuda" else 2048  # a GPU is through with a small one before its launch is paid for
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
    """Return those worth measuring here: bf16 only where the hardware computes in it."""
    return ["fp32", "bf16"] if has_fast_bf16(first_device()) else ["fp32"]


def in_fresh_process(script: str, *arguments: str) -> dict[str, Any]:
    """Run a benchmark's ``--child`` form, which prints one JSON object, and return that."""
    command = [sys.executable, script, "--child", *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=False)
    if output.returncode:
        return {"failed": output.returncode, "reason": output.stderr.strip().splitlines()[-1:]}
    return json.loads(output.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def keep(name: str, found: Mapping[str, Any], quick: bool) -> None:
    """Write results beside the scripts, a GPU's under a name of their own; those of a quick look are only printed."""
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
    """Return the median with its range."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
