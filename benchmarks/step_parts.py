"""Measure the speed-up from each part of the fast path: a step with all parts, and with one part left out.

One step is forward, backward, clipping and AdamW with MiniLM at [CLS] on 64 real sentences. The steps alternate in one
process. A second table has the share of each kind of operation in a step, and in the streamed loss at N = 2,048, by
torch's profiler. With --candidates, steps with additional optimisations are timed as well: torch.compile and, on a
GPU, CUDA graphs, groups by length and packed rows. If a GPU is available, everything runs on it.

    python benchmarks/step_parts.py [--batch 64] [--repeats 5] [--candidates] [--quick]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import torch
from accelerate.utils import convert_outputs_to_fp32
from harness import SHARED, alternate, clock, first_device, keep, precisions, ratios, show, spread, wait_for_device
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from torch.profiler import ProfilerActivity, profile

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath import PARTS, Part, accelerate
from smoothcse.methods import GSInfoNCELoss
from smoothcse.objectives import Keys, Noise, streamed_contrast
from smoothcse.views import embed as views

ALL = "all of them"
AUTOCAST = "layers under autocast"
Step = Callable[[], float]
KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "addmm_", "linear", "mkldnn"),
    "attention": ("scaled_dot_product", "flash_attention"),
    "dropout": ("_Dropout", "random_", "bernoulli"),
    "noise": ("normal_",),
    "optimiser": ("_fused_adamw", "_foreach_", "linalg_vector_norm"),
    "casts": ("_to_copy", "ToCopyBackward"),
    "norms": ("layer_norm", "LayerNorm"),
    "GELU": ("gelu", "Gelu"),
    "softmax": ("softmax", "Softmax"),
    "embeddings": ("embedding", "Embedding", "index_select"),
    "copies": ("clone", "contiguous", "cat"),
    "sums": ("add_", "sum"),
}
"""Kinds of operations, each with the names, or parts of names, of those that belong to it, and all that they call."""
PYTHON = "Python"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="sentences per step")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of alternating measurements")
    parser.add_argument(
        "--candidates", action="store_true", help="also time optimisations that are not part of a step"
    )
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    batch, repeats, n = (8, 1, 64) if arguments.quick else (arguments.batch, arguments.repeats, 2048)
    text = SHARED / "data" / "corpus" / "wiki_sentences.txt"
    sentences: list[str] = load_sentences(text, limit=batch, seed=0).dataset["sentence"][:]
    full = make_step(sentences)
    ways = {ALL: full, **without_parts(sentences, full)}
    if arguments.candidates:
        ways |= candidates(sentences, full)
    for way in ways.values():
        way()  # warm up
    seconds = alternate(ways, repeats)
    slower = {name: ratios(seconds, ALL, name) for name in ways if name != ALL}
    shares = {"training step": shares_of(full), "streamed loss": shares_of(lambda: streamed(n))}
    rows = [[name, spread(values), spread(slower[name]) if name in slower else ""] for name, values in seconds.items()]
    headings = ["part replaced or added", "seconds", "relative time"]
    show(f"A step of {batch} sentences, {precisions()[-1]}", headings, rows)
    for name, found in shares.items():
        show(
            f"Time by operation: {name}",
            ["part", "share"],
            [[part, f"{share:.0%}"] for part, share in found.items()],
        )
    result = {"batch": batch, "precision": precisions()[-1], "seconds": seconds, "slower": slower, "shares": shares}
    keep("step_parts", result | {"streamed_n": n}, arguments.quick)


def without_parts(sentences: list[str], full: Step) -> dict[str, Step]:
    """Return steps without one part each, for the parts that this device uses."""
    found = {"the last layer computes all tokens": make_step(sentences, without=["read token"])}
    if first_device() == "cpu":
        found |= {
            "torch's dropout": make_step(sentences, without=["dropout", "attention"]),
            "torch's attention": make_step(sentences, without=["attention"]),
            "words looked up in each group": make_step(sentences, without=["words"]),
            **({AUTOCAST: make_step(sentences, without=["bf16 layers"])} if precisions()[-1] == "bf16" else {}),
            "one group": during(patch.object(views, "group_sizes", groups_of(len(sentences))), full),
            "groups of 16 sentences each": during(patch.object(views, "group_sizes", groups_of(16)), full),
        }
    return found


def groups_of(size: int) -> Callable[..., list[int]]:
    """Return a function that divides any number of rows into groups of one size."""
    return lambda lengths, *_: [min(size, len(lengths) - first) for first in range(0, len(lengths), size)]


def candidates(sentences: list[str], full: Step) -> dict[str, Step]:
    """Return steps with an additional optimisation each, for those that this device supports."""
    found = {"with torch.compile": make_step(sentences, change=compiled(dynamic=True))}
    if first_device() == "cuda":
        by_length = {"_embed_times": views._embed_in_groups, "_GPU_ROWS": len(sentences) // 4}
        found |= {
            "with torch.compile and CUDA graphs": make_step(sentences, change=compiled(mode="reduce-overhead")),
            "with four groups by length": during(patch.multiple(views, **by_length), full),
        }
        try:
            found["with packed rows"] = make_step(sentences, change=packed)
        except ImportError as error:
            print(f"Packed rows were not measured: {error}")
    return found


def compiled(**options: Any) -> Callable[[SentenceTransformer], None]:
    """Return a function that compiles an encoder in place."""
    return lambda model: model[0].model.compile(**options)


def packed(model: SentenceTransformer) -> None:
    """Let an encoder read concatenated rows, without padding."""
    model[0].model.set_attn_implementation("flash_attention_2")
    model[0].unpad_inputs = True
    if not model[0].can_flatten_inputs:
        raise ImportError("sentence-transformers finds no flash attention for rows of varying length.")


def make_step(
    sentences: list[str],
    *,
    without: Collection[Part] = (),
    change: Callable[[SentenceTransformer], None] = lambda model: None,
) -> Step:
    """Return a training step with its own model; a call runs it and returns its seconds."""
    torch.manual_seed(0)
    device = first_device()
    model = build_encoder("packaged-minilm", "cls", max_length=32, device=device).train()
    parts = [part for part in PARTS if part not in without]
    change(model)
    loss = GSInfoNCELoss(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-5, fused=True)
    features = batch_to_device(model.preprocess(sentences), torch.device(device))
    if precisions()[-1] == "bf16":
        under_autocast(model, device)

    def timed() -> float:
        wait_for_device()
        started = clock()
        value = loss([dict(features)])
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        wait_for_device()
        return clock() - started

    def step() -> float:
        with accelerate(model, parts=parts, precision=precisions()[-1]):
            return timed()

    return step


def under_autocast(model: SentenceTransformer, device: str) -> None:
    """Put the forward of a model under autocast to bf16, as the trainer does."""
    model.forward = convert_outputs_to_fp32(torch.autocast(device, dtype=torch.bfloat16)(model.forward))


def during(change: AbstractContextManager[Any], step: Step) -> Step:
    """Return the step, run inside a context manager."""

    def changed() -> float:
        with change:
            return step()

    return changed


def streamed(n: int) -> None:
    """Run the streamed loss, forward and backward."""
    z1, z2 = (torch.randn(n, 768, device=first_device(), requires_grad=True) for _ in range(2))
    streamed_contrast(z1, Keys(z2), Noise(count=3 * n)).loss.backward()


def shares_of(way: Callable[[], Any]) -> dict[str, float]:
    """Return the share of each kind of operation in the time of a function; Python is the time between them."""
    on_gpu = first_device() == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_gpu]) as profiled:
        started = time.perf_counter()
        way()
        wait_for_device()
        whole = time.perf_counter() - started
    spent: Counter[str] = Counter()
    for event in profiled.events():
        spent[kind_of(event)] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    if not on_gpu:
        spent[PYTHON] = max(0.0, whole * 1e6 - spent.total())
    return {kind: time / spent.total() for kind, time in spent.most_common()}


def kind_of(event: Any) -> str:
    """Return the kind of an operation: its own, or that of the nearest operation that calls it."""
    while event is not None:
        name = event.key.removeprefix("aten::")
        for kind, marks in KINDS.items():
            if any(name == mark or (len(mark) > 3 and mark in name and mark[-1] != "_") for mark in marks):
                return kind
        event = event.cpu_parent
    return "the rest"


if __name__ == "__main__":
    main()
