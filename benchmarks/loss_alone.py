"""Measure time and peak memory of the loss alone, forward and backward, against two simpler implementations.

``dense`` computes the matrix of logits by one product. ``broadcast`` compares every pair of rows by
``cosine_similarity``, as the authors' code does, which allocates an N x N x d tensor. M = 3 N and d = 768. Each point
runs in a separate process. The cost of the noise at N = 64 is measured separately.

    python benchmarks/loss_alone.py [--largest 16384] [--quick]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from statistics import median
from typing import Any

import torch
from harness import alternate, in_fresh_process, keep, show, spread
from torch import Tensor
from torch.nn import functional

from smoothcse.methods import GSInfoNCELoss
from smoothcse.objectives import GaussianNoise

DIM, TEMPERATURE = 768, 0.05
FORMS = ("ours", "dense", "broadcast")
MEMORY = {"dense": 2**34, "broadcast": 2**34}  # bytes above which an implementation is not run


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=16384, help="largest N")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child[0], int(arguments.child[1]))))
        return
    largest = 64 if arguments.quick else arguments.largest
    sizes = [size for size in (64, 256, 1024, 4096, 16384, 65536) if size <= largest]
    points = []
    for size in sizes:
        for form in FORMS:
            if arguments.quick:
                point = measure(form, size)
            elif needed(form, size) < MEMORY.get(form, 2**62):
                point = in_fresh_process(__file__, form, str(size))
            else:
                point = {"skipped": f"its tensors alone take {needed(form, size) / 1e9:.0f} GB"}
            points.append({"form": form, "n": size, "m": 3 * size, **point})
    show("The loss alone, M = 3 N, d = 768", ["N, form", "seconds", "peak MB"], [row(point) for point in points])
    noise = cost_of_noise(5 if arguments.quick else 40)
    keep("loss_alone", {"points": points, "noise_at_64": noise}, arguments.quick)


def row(point: dict[str, Any]) -> list[str]:
    """Return the cells of a point."""
    label = f"{point['n']:,}, {point['form']}"
    if "seconds" not in point:
        return [label, point.get("skipped", "failed"), ""]
    return [label, f"{point['seconds']:.3f}", f"{point['peak_mb']:.0f}"]


def measure(form: str, n: int) -> dict[str, float]:
    """Return seconds and the increase of the peak memory, with gradients but without inputs."""
    torch.manual_seed(0)
    z1, z2 = (torch.randn(n, DIM, requires_grad=True) for _ in range(2))
    compute = {"ours": ours, "dense": dense, "broadcast": broadcast}[form]
    compute(z1[:8], z2[:8], 24).backward()  # loads kernels, so that they are not measured
    z1.grad = z2.grad = None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(1 if n > 2048 else 5):
        started = time.perf_counter()
        compute(z1, z2, 3 * n).backward()
        seconds.append(time.perf_counter() - started)
        z1.grad = z2.grad = None
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": median(seconds), "peak_mb": (after - before) / 1024}


def ours(z1: Tensor, z2: Tensor, count: int) -> Tensor:
    """Return the loss as ``GSInfoNCELoss`` computes it."""
    loss = GSInfoNCELoss(torch.nn.Identity(), noise_count=count)  # type: ignore[arg-type]
    loss.step = 0
    return loss.compute_loss_from_embeddings([z1, z2])


def dense(z1: Tensor, z2: Tensor, count: int) -> Tensor:
    """Return the loss by one matrix product and a cross-entropy."""
    noise = GaussianNoise().draw(0, count, DIM)
    keys = functional.normalize(torch.cat([z2, noise]), dim=1)
    logits = functional.normalize(z1, dim=1) @ keys.T / TEMPERATURE
    return functional.cross_entropy(logits, torch.arange(len(z1)))


def broadcast(z1: Tensor, z2: Tensor, count: int) -> Tensor:
    """Return the loss by comparing every pair of rows in one broadcast tensor."""
    noise = GaussianNoise().draw(0, count, DIM)
    blocks = [functional.cosine_similarity(z1.unsqueeze(1), keys.unsqueeze(0), dim=-1) for keys in (z2, noise)]
    return functional.cross_entropy(torch.cat(blocks, dim=1) / TEMPERATURE, torch.arange(len(z1)))


def needed(form: str, n: int) -> int:
    """Return the bytes of the largest tensors of an implementation, forward and backward."""
    if form == "broadcast":
        return 3 * n * 4 * n * DIM * 4
    return 4 * n * 4 * n * 4 if form == "dense" else 0


def cost_of_noise(rounds: int) -> dict[str, Any]:
    """Return microseconds of forward and backward at N = 64, d = 384, with M = 192 and without noise."""
    z1, z2 = (torch.randn(64, 384, requires_grad=True) for _ in range(2))

    def run(count: int) -> float:
        loss = GSInfoNCELoss(torch.nn.Identity(), noise_count=count)  # type: ignore[arg-type]
        loss.step = 0
        started = time.perf_counter()
        for _ in range(20):
            loss.compute_loss_from_embeddings([z1, z2]).backward()
        return (time.perf_counter() - started) / 20 * 1e6

    micros = alternate({"InfoNCE": lambda: run(0), "GS-InfoNCE": lambda: run(192)}, rounds)
    extra = [gs - plain for gs, plain in zip(micros["GS-InfoNCE"], micros["InfoNCE"], strict=True)]
    show("N = 64, M = 192, d = 384", ["loss", "microseconds"], [[n, spread(v, 0)] for n, v in micros.items()])
    return {"microseconds": micros, "extra_microseconds": median(extra)}


if __name__ == "__main__":
    sys.exit(main())
