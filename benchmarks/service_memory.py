"""Measure the memory of the HTTP service after each round of load, from its start on.

The first half of the rounds sends one sentence per request, the second half 32.

    python benchmarks/service_memory.py [--rounds 12] [--clients 64] [--seconds 10] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio

from harness import SHARED, keep, show
from service_load import load, memory_mb, served

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences

LARGE = 32
"""Texts per request in the second half of the rounds."""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="rounds of load")
    parser.add_argument("--clients", type=int, default=64, help="number of concurrent clients")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds per round")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    rounds, clients, seconds = arguments.rounds, arguments.clients, arguments.seconds
    if arguments.quick:
        rounds, clients, seconds = 2, 4, 0.3
    text = SHARED / "data" / "corpus" / "wiki_sentences.txt"
    sentences = load_sentences(text, limit=2000, seed=0).dataset["sentence"][:]
    requests, errors = 0, 0
    with served(64) as (url, process):
        memory = [memory_mb(process)]
        for number in range(rounds):
            texts = 1 if number < rounds // 2 else LARGE
            latencies, failed = asyncio.run(load(url, sentences, clients, seconds, texts))
            requests, errors = requests + len(latencies), errors + failed
            memory.append(memory_mb(process))
    headings = ["after round", "MB"]
    rows = [[str(number), f"{value:.0f}"] for number, value in enumerate(memory)]
    show(f"Memory of the service, {requests:,} requests, {errors} errors", headings, rows)
    found = {"clients": clients, "seconds": seconds, "requests": requests, "errors": errors}
    keep("service_memory", found | {"memory_mb": memory}, arguments.quick)


if __name__ == "__main__":
    main()
