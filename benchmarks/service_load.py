"""Measure requests per second and latency of the HTTP service by number of clients, with and without batching.

``smoothcse serve`` runs in a separate process and answers ``/v1/embeddings``. Each client sends one real sentence
after another and waits for each response. Both settings run alternately. Memory is that of the server, before and
after.

    python benchmarks/service_load.py [--clients 1 8 64] [--seconds 15] [--repeats 2] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import numpy as np
from harness import SHARED, keep, show

from smoothcse._utils.defaults import BATCH_TEXTS
from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences

WAYS = {"together": BATCH_TEXTS, "each alone": 1}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], help="numbers of concurrent clients")
    parser.add_argument("--seconds", type=float, default=15.0, help="seconds of load per number of clients")
    parser.add_argument("--repeats", type=int, default=2, help="rounds of alternating settings")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    clients, seconds, repeats, ways = arguments.clients, arguments.seconds, arguments.repeats, WAYS
    if arguments.quick:
        clients, seconds, repeats, ways = [4], 0.3, 1, {"together": WAYS["together"]}
    text = SHARED / "data" / "corpus" / "wiki_sentences.txt"
    sentences = load_sentences(text, limit=2000, seed=0).dataset["sentence"][:]
    points = []
    for _ in range(repeats):
        for way, batch_texts in ways.items():
            with served(batch_texts) as (url, process):
                asyncio.run(load(url, sentences, 8, seconds / 3))  # warm up
                points += [
                    {"way": way, "clients": count, **measure(url, process, sentences, count, seconds)}
                    for count in clients
                ]
    headings = ["clients, texts encoded", "requests / s", "p50 ms", "p95 ms", "p99 ms", "errors", "memory MB"]
    show("/v1/embeddings, one sentence per request", headings, [row(point) for point in points])
    keep("service_load", {"seconds": seconds, "points": points}, arguments.quick)


def row(point: dict[str, Any]) -> list[str]:
    """Return the cells of one measurement."""
    p50, p95, p99 = (f"{point[name]:.0f}" for name in ("p50_ms", "p95_ms", "p99_ms"))
    memory = f"{point['memory_before_mb']:.0f} to {point['memory_after_mb']:.0f}"
    label = f"{point['clients']}, {point['way']}"
    return [label, f"{point['requests_per_second']:.0f}", p50, p95, p99, str(point["errors"]), memory]


@contextmanager
def served(batch_texts: int) -> Iterator[tuple[str, int]]:
    """Run the service and yield its address and process id."""
    command = [sys.executable, "-m", "smoothcse", "serve", "packaged-minilm", "--batch-texts", str(batch_texts)]
    with running(command, "/healthz") as server:
        yield server


@contextmanager
def running(command: Sequence[str], health: str) -> Iterator[tuple[str, int]]:
    """Run a command that takes ``--port`` until its path ``health`` answers; yield address and process id."""
    port = free_port()
    server = subprocess.Popen([*command, "--port", str(port)])
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}{health}", server)
        yield url, server.pid
    finally:
        server.terminate()
        server.wait(60)


def measure(
    url: str, process: int, sentences: list[str], clients: int, seconds: float, texts: int = 1
) -> dict[str, Any]:
    """Load the service and return throughput, latencies, errors and memory."""
    before = memory_mb(process)
    started = time.perf_counter()
    latencies, errors = asyncio.run(load(url, sentences, clients, seconds, texts))
    lasted = time.perf_counter() - started
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]) * 1000
    return {
        "requests": len(latencies),
        "requests_per_second": len(latencies) / lasted,
        "p50_ms": float(p50),
        "p95_ms": float(p95),
        "p99_ms": float(p99),
        "errors": errors,
        "memory_before_mb": before,
        "memory_after_mb": memory_mb(process),
    }


async def load(
    url: str, sentences: list[str], clients: int, seconds: float, texts: int = 1
) -> tuple[list[float], int]:
    """Send requests of ``texts`` texts each; return the seconds of each successful one and the number of failures.

    The clients are aiohttp's: those of httpx share a pool in which some wait for seconds before they send anything.
    """
    latencies: list[float] = []
    errors = 0
    deadline = time.perf_counter() + seconds

    async def client(number: int, session: aiohttp.ClientSession) -> None:
        nonlocal errors
        turn = number
        while (started := time.perf_counter()) < deadline:
            start = turn * texts % len(sentences)
            request = {"input": sentences[start : start + texts]}
            async with session.post("/v1/embeddings", json=request) as answer:
                await answer.read()
            turn += clients
            if answer.status == 200:
                latencies.append(time.perf_counter() - started)
            else:
                errors += 1

    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=clients)) as session:
        await asyncio.gather(*(client(number, session) for number in range(clients)))
    return latencies, errors


def memory_mb(process: int) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def wait_for(url: str, server: subprocess.Popen[bytes], seconds: float = 300) -> None:
    """Wait until the service of a process answers, while it runs."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            httpx.get(url, timeout=1).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit(f"The service did not answer at {url}.")


if __name__ == "__main__":
    main()
