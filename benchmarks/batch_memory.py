"""Measure peak memory and time of one training step by batch size, with and without gradient caching.

Each point runs in a separate process. The memory of the loaded model, its gradients and the optimiser's state is not
counted. Points of other sizes from earlier runs in the same precision are kept, because the largest take an hour;
``caching.py`` adds the point of its large step. Batches of more than 31,000 sentences use captions, which are shorter,
because the other corpus is not larger.

    python benchmarks/batch_memory.py [--batch 64 256 1024 4096 16384] [--precision bf16] [--tokens 1024] [--quick]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from harness import RESULTS, SHARED, clock, environment, in_fresh_process, keep, precisions, show
from step_parts import under_autocast

from smoothcse._utils.peak_memory import PeakMemory
from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.precision import Resolved
from smoothcse.fastpath import accelerate
from smoothcse.methods import CachedGSInfoNCELoss, GSInfoNCELoss

CORPUS = SHARED / "data" / "corpus"
WIKI_UP_TO = 31_000  # sentences
PLAIN_UP_TO = 1024  # sentences; beyond that, the activations of a whole batch do not fit into memory


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256, 1024, 4096, 16384], help="batch sizes")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default=precisions()[-1], help="precision")
    parser.add_argument("--tokens", type=int, default=1024, help="tokens per mini-batch with gradient caching")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        form, batch, precision, tokens = arguments.child
        print(json.dumps(measure(form, int(batch), precision, int(tokens))))
        return
    sizes = [16] if arguments.quick else arguments.batch
    points = []
    for size in sizes:
        for form in ("plain", "cached") if size <= PLAIN_UP_TO else ("cached",):
            print(f"batch {size:,}, {form}", file=sys.stderr, flush=True)
            points.append(point(form, size, arguments.precision, arguments.tokens, arguments.quick))
    rows = [
        [f"{p['batch']:,}, {p['form']}", f"{p.get('seconds', 0):.1f}", f"{p.get('peak_mb', 0):.0f}"] for p in points
    ]
    show(f"One training step of MiniLM, M = 3 N, {arguments.precision}", ["batch, form", "seconds", "peak MB"], rows)
    keep_points(points, arguments.quick)


def point(form: str, batch: int, precision: str, tokens: int, quick: bool) -> dict[str, Any]:
    """Return a point, measured in a separate process, or in this one if the run is quick."""
    given = (form, str(batch), precision, str(tokens))
    return {
        "form": form,
        "batch": batch,
        "precision": precision,
        "tokens": tokens,
        "text": text_for(batch).stem,
        "measured": f"{environment()['date'][:10]}, revision {environment()['commit']}",
        **(measure(form, batch, precision, tokens) if quick else in_fresh_process(__file__, *given)),
    }


def keep_points(points: list[dict[str, Any]], quick: bool) -> None:
    """Write points, with those of other sizes from earlier runs in the same precision; a quick run writes nothing."""
    file = RESULTS / "batch_memory.json"
    before = json.loads(file.read_text())["points"] if file.is_file() else []
    sizes, precision = {p["batch"] for p in points}, points[0]["precision"]
    kept = [p for p in before if p["batch"] not in sizes and p["precision"] == precision]
    keep("batch_memory", {"points": sorted(kept + points, key=lambda p: p["batch"])}, quick)


def text_for(batch: int) -> Path:
    """Return a corpus with at least ``batch`` sentences."""
    return CORPUS / ("wiki_sentences.txt" if batch <= WIKI_UP_TO else "captions.txt")


def measure(form: str, batch: int, precision: Resolved, tokens: int) -> dict[str, float]:
    """Run one small step to allocate gradients and optimiser state, then the measured one."""
    quiet_libraries()
    torch.manual_seed(0)
    sentences = load_sentences(text_for(batch), limit=batch, seed=0).dataset["sentence"][:]
    model = build_encoder("packaged-minilm", "cls", max_length=32, device="cpu").train()
    if precision == "bf16":
        under_autocast(model, "cpu")
    with accelerate(model, precision=precision):
        loss = (
            CachedGSInfoNCELoss(model, noise_count=3 * batch, mini_batch_tokens=tokens)
            if form == "cached"
            else GSInfoNCELoss(model, noise_count=3 * batch)
        )
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-5, fused=True)

        def step(texts: list[str]) -> None:
            loss([model.preprocess(texts)]).backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=False)

        step(sentences[:8])
        peak = PeakMemory("cpu")  # ru_maxrss would begin at that of the parent
        peak.restart()
        started = clock()
        step(sentences)
        seconds = clock() - started
    return {"seconds": seconds, "peak_mb": (peak.bytes() or 0) / 2**20}


if __name__ == "__main__":
    main()
