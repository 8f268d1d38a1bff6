"""Measure what gradient caching costs: a cached step of a large batch beside uncached steps, per sentence.

Caching encodes each sentence once more, without gradients: four units of arithmetic instead of three, 1.33 times. The
loss over the whole batch comes on top, and is timed alone as well. First, steps of --tried sentences are compared for
each size of the mini-batches, alternately with an uncached step of --uncached. Then one step of --batch is made with
the fastest size, in a process of its own and between two uncached steps; it is a point of batch_memory.py, too. In
bf16 on 2 cores, all of it takes seven minutes; in fp32, twelve.

    python benchmarks/caching.py [--batch 16384] [--uncached 512] [--tokens 1024 2048] [--tried 1024] [--repeats 2]
        [--precision bf16] [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from batch_memory import keep_points, point, text_for
from harness import Budget, alternate, clock, keep, precisions, ratios, show
from page import UNCACHED, caching_rows
from sentence_transformers import SentenceTransformer
from step_parts import under_autocast

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.precision import Resolved
from smoothcse.fastpath import accelerate
from smoothcse.methods import CachedGSInfoNCELoss, GSInfoNCELoss
from smoothcse.objectives import Keys, Noise, streamed_contrast

Step = Callable[[], float]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16_384, help="sentences of the large step")
    parser.add_argument("--uncached", type=int, default=512, help="sentences of the step without caching")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 2048], help="tokens per mini-batch to try")
    parser.add_argument("--tried", type=int, default=1024, help="sentences of the steps that try them")
    parser.add_argument("--repeats", type=int, default=2, help="rounds of alternating measurements")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default=precisions()[-1], help="precision")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    sizes, repeats = (arguments.batch, arguments.uncached, arguments.tried), arguments.repeats
    if arguments.quick:
        sizes, repeats = (16, 4, 8), 1
    found = measure(*sizes, arguments.tokens, arguments.precision, repeats, arguments.quick)
    show(
        f"Gradient caching, {found['precision']}", ["step", "seconds", "ms/sentence", "relative"], caching_rows(found)
    )
    keep(f"caching_{found['precision']}", found, arguments.quick)


def measure(
    batch: int, uncached: int, tried: int, tokens: list[int], precision: Resolved, repeats: int, quick: bool
) -> dict[str, Any]:
    """Return the seconds per sentence of each step, and their ratios to the step without caching."""
    torch.manual_seed(0)
    sentences: list[str] = load_sentences(text_for(batch), limit=batch, seed=0).dataset["sentence"][:]
    model = build_encoder("packaged-minilm", "cls", max_length=32, device="cpu").train()
    if precision == "bf16":
        under_autocast(model, "cpu")
    budget = Budget()
    plain = make_step(model, GSInfoNCELoss, sentences[:uncached], precision)

    def cached(most: int) -> Step:
        return make_step(model, CachedGSInfoNCELoss, sentences[:tried], precision, mini_batch_tokens=most)

    plain()  # warm up
    ways = {UNCACHED: plain, **{f"mini-batches of {most:,} tokens": cached(most) for most in tokens}}
    seconds = alternate(ways, repeats)
    best = min(tokens, key=lambda most: median(seconds[f"mini-batches of {most:,} tokens"]))
    print(f"mini-batches of {best:,} tokens are the fastest; the large step starts; {budget}", flush=True)
    around = [plain()]
    large = point("cached", batch, precision, best, quick)
    around.append(plain())
    if "seconds" not in large:
        raise SystemExit(f"The step of {batch:,} sentences failed: {large['reason']}")
    keep_points([large], quick)
    return {
        "precision": precision,
        "batch": batch,
        "uncached": uncached,
        "tried": tried,
        "tokens": best,
        "seconds": {**seconds, "large": [large["seconds"]], "around": around, "loss": [loss_alone(batch)]},
        "ratios": {
            way: [ratio * uncached / tried for ratio in ratios(seconds, UNCACHED, way)]
            for way in seconds
            if way != UNCACHED
        },
        "large_ratios": [large["seconds"] / batch / (value / uncached) for value in around],
    }


def make_step(
    model: SentenceTransformer, loss_class: type, sentences: list[str], precision: Resolved, **settings: int
) -> Step:
    """Return a training step; a call runs it and returns its seconds."""
    features = model.preprocess(sentences)
    loss = loss_class(model, noise_count=3 * len(sentences), **settings)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-5, fused=True)

    def step() -> float:
        with accelerate(model, precision=precision):
            started = clock()
            loss([dict(features)]).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            return clock() - started

    return step


def loss_alone(batch: int) -> float:
    """Return the seconds of the loss of a batch of embeddings, forward and backward."""
    z1, z2 = (torch.randn(batch, 384, requires_grad=True) for _ in range(2))
    started = clock()
    streamed_contrast(z1, Keys(z2), Noise(count=3 * batch)).loss.backward()
    return clock() - started


if __name__ == "__main__":
    main()
