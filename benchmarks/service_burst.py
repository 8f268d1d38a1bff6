"""Measure the latency of the HTTP service under a burst of requests.

Several clients send one request each at the same time; a client with a single text follows a second later. Prints the
seconds to the first, median and last response of the burst, the seconds of the small request, and the memory of the
server. To compare revisions, alternate runs with PYTHONPATH set to the ``src`` of each.

    python benchmarks/service_burst.py [--clients 64] [--texts 32] [--repeats 3] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from statistics import median
from typing import Any

import httpx
import numpy as np
from harness import SHARED, keep, show
from service_load import load, memory_mb, served

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences

_SMALL_AFTER = 1.0  # seconds into the burst


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64, help="number of concurrent clients")
    parser.add_argument("--texts", type=int, default=32, help="texts per request")
    parser.add_argument("--repeats", type=int, default=3, help="number of bursts")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    clients, texts, repeats = (8, 8, 1) if arguments.quick else (arguments.clients, arguments.texts, arguments.repeats)
    corpus = SHARED / "data" / "corpus" / "wiki_sentences.txt"
    sentences = load_sentences(corpus, limit=clients * texts, seed=0).dataset["sentence"][:]
    requests = [sentences[start : start + texts] for start in range(0, clients * texts, texts)]
    with served(64) as (url, process):
        asyncio.run(load(url, sentences, 8, 0.3 if arguments.quick else 3.0))  # warm up
        memory = [memory_mb(process)]
        rounds = []
        for _ in range(repeats):
            rounds.append(asyncio.run(burst(url, requests)))
            memory.append(memory_mb(process))
    headings = ["", *(f"round {number}" for number in range(1, repeats + 1)), "median"]
    rows = []
    for name in rounds[0]:
        values = [one[name] for one in rounds]
        rows.append([name, *(f"{value:.2f}" for value in [*values, median(values)])])
    rows.append(["MB after", *(f"{value:.0f}" for value in memory[1:]), f"{memory[0]:.0f} before"])
    show(f"{clients} requests of {texts} texts at once, seconds", headings, rows)
    keep("service_burst", {"clients": clients, "texts": texts, "rounds": rounds, "memory_mb": memory}, arguments.quick)


async def burst(url: str, requests: list[list[str]]) -> dict[str, float]:
    """Send all requests at once and a small one later; return the seconds to their responses."""

    async def ask(session: httpx.AsyncClient, texts: list[str]) -> float:
        started = time.perf_counter()
        (await session.post("/v1/embeddings", json={"input": texts})).raise_for_status()
        return time.perf_counter() - started

    async def ask_later(session: httpx.AsyncClient) -> float:
        await asyncio.sleep(_SMALL_AFTER)
        return await ask(session, ["a single text that arrives later"])

    limits: Any = httpx.Limits(max_connections=len(requests) + 1)
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as session:
        *seconds, small = await asyncio.gather(*(ask(session, texts) for texts in requests), ask_later(session))
    p50, p95 = np.percentile(seconds, [50, 95])
    return {"first": min(seconds), "p50": float(p50), "p95": float(p95), "last": max(seconds), "small": small}


if __name__ == "__main__":
    main()
