"""Show where the time of a training step goes: the share of each kind of operation, and the seconds of each step.

The step is that of step_parts.py, with MiniLM at [CLS] on real sentences. On a CPU with bf16, it is also measured with
the layers under autocast. Shares are those of one step under torch's profiler, which slows small operations.

    python benchmarks/step_profile.py [--batch 64 512] [--threads 1] [--repeats 3] [--quick]
"""

from __future__ import annotations

import argparse
from statistics import mean

import torch
from harness import SHARED, alternate, first_device, keep, precisions, show, spread
from step_parts import AUTOCAST, make_step, shares_of

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences

OURS = "all parts of the fast path"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 512], help="batch sizes")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of alternating measurements")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(arguments.threads)
    batches, repeats = ([8], 1) if arguments.quick else (arguments.batch, arguments.repeats)
    steps = [measure(batch, repeats) for batch in batches]
    columns = {f"{way}, batch {step['batch']}": step["shares"][way] for step in steps for way in step["shares"]}
    rows = [[kind, *(f"{shares.get(kind, 0):.0%}" for shares in columns.values())] for kind in kinds(columns)]
    rows.append(["seconds", *(spread(values) for step in steps for values in step["seconds"].values())])
    show(f"Shares of the time of a step, {precisions()[-1]}", ["operations", *columns], rows)
    keep("step_profile", {"precision": precisions()[-1], "steps": steps}, arguments.quick)


def measure(batch: int, repeats: int) -> dict[str, object]:
    """Return the seconds and the shares of each way to compute a step."""
    text = SHARED / "data" / "corpus" / "wiki_sentences.txt"
    sentences: list[str] = load_sentences(text, limit=batch, seed=0).dataset["sentence"][:]
    ways = {OURS: make_step(sentences)}
    if precisions()[-1] == "bf16" and first_device() == "cpu":
        ways = {AUTOCAST: make_step(sentences, without=["bf16 layers"]), **ways}
    for way in ways.values():
        way()  # warm up
    seconds = alternate(ways, repeats)
    return {"batch": batch, "seconds": seconds, "shares": {name: shares_of(way) for name, way in ways.items()}}


def kinds(columns: dict[str, dict[str, float]]) -> list[str]:
    """Return the kinds of operations, the largest mean share first, without those that round to 0%."""
    found = {kind for shares in columns.values() for kind in shares}
    means = {kind: mean(shares.get(kind, 0.0) for shares in columns.values()) for kind in found}
    return sorted((kind for kind in found if means[kind] >= 0.005), key=lambda kind: -means[kind])


if __name__ == "__main__":
    main()
