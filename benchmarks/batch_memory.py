"""Measure peak memory and time of one training step by batch size, with and without gradient caching.

Each point runs in a separate process. The memory of the loaded model, its gradients and the optimiser's state is not
counted. Points of other sizes from earlier runs are kept, because the largest take an hour. Batches of more than
31,000 sentences use captions, which are shorter, because the other corpus is not larger.

    python benchmarks/batch_memory.py [--batch 64 256 1024 4096 16384] [--quick]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import torch
from harness import RESULTS, SHARED, environment, in_fresh_process, keep, show

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath import accelerate
from smoothcse.methods import CachedGSInfoNCELoss, GSInfoNCELoss

CORPUS = SHARED / "data" / "corpus"
WIKI_UP_TO = 31_000  # sentences
PLAIN_UP_TO = 1024  # sentences; beyond that, the activations of a whole batch do not fit into memory


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256, 1024, 4096, 16384], help="batch sizes")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child[0], int(arguments.child[1]))))
        return
    sizes = [16] if arguments.quick else arguments.batch
    points = [
        {
            "form": form,
            "batch": size,
            "text": text_for(size).stem,
            "measured": f"{environment()['date'][:10]}, revision {environment()['commit']}",
            **(measure(form, size) if arguments.quick else in_fresh_process(__file__, form, str(size))),
        }
        for size in sizes
        for form in ("plain", "cached")
        if form == "cached" or size <= PLAIN_UP_TO
    ]
    rows = [
        [f"{p['batch']:,}, {p['form']}", f"{p.get('seconds', 0):.1f}", f"{p.get('peak_mb', 0):.0f}"] for p in points
    ]
    show("One training step of MiniLM, M = 3 N", ["batch, form", "seconds", "peak MB"], rows)
    keep("batch_memory", {"points": sorted(before(sizes) + points, key=lambda p: p["batch"])}, arguments.quick)


def before(sizes: list[int]) -> list[dict[str, Any]]:
    """Return the points of other sizes from earlier runs."""
    file = RESULTS / "batch_memory.json"
    points: list[dict[str, Any]] = json.loads(file.read_text())["points"] if file.is_file() else []
    return [point for point in points if point["batch"] not in sizes]


def text_for(batch: int) -> Path:
    """Return a corpus with at least ``batch`` sentences."""
    return CORPUS / ("wiki_sentences.txt" if batch <= WIKI_UP_TO else "captions.txt")


def measure(form: str, batch: int) -> dict[str, float]:
    """Run one small step to allocate gradients and optimiser state, then the measured one."""
    quiet_libraries()
    torch.manual_seed(0)
    sentences = load_sentences(text_for(batch), limit=batch, seed=0).dataset["sentence"][:]
    model = build_encoder("packaged-minilm", "cls", max_length=32).train()
    with accelerate(model):
        cls = CachedGSInfoNCELoss if form == "cached" else GSInfoNCELoss
        loss = cls(model, noise_count=3 * batch)
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-5, fused=True)

        def step(texts: list[str]) -> None:
            loss([model.preprocess(texts)]).backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=False)

        step(sentences[:8])
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        step(sentences)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024}


if __name__ == "__main__":
    main()
