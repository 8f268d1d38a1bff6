"""Compare the time of a training step with that of sentence-transformers' own SimCSE recipe, on the same sentences.

Both run in their trainer, from text to updated weights, alternately. The recipe is two equal columns under
``MultipleNegativesRankingLoss``, or under its cached version for batches of more than 1,024, for which this package
caches gradients too: that is how a batch of 4,096 with BERT-large fits into the memory of one GPU. On a GPU, BERT-base
and BERT-large with random weights are measured too, and a run has more steps. The table and the results are complete
after each step measured, in case that the next one fails; --seconds names those that did not fit into the time.

Without hardware support for bf16, both default to fp32, and only fp32 is measured. A run of fp32 alone has a results
file of its own, so that processors with bf16 and without stand side by side.

    python benchmarks/training_step.py [--batch 64 512] [--models MiniLM] [--precision fp32 bf16] [--repeats 3]
        [--seconds 90] [--quick]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from harness import (
    SHARED,
    Budget,
    alternate,
    first_device,
    keep,
    matmul_peak,
    precisions,
    ratios,
    show,
    spread,
    tensor_device,
)
from rich.console import Console
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from shapes import MAX_LENGTH, SHAPES, encoder_of, useful_gflop
from transformers import PrinterCallback, TrainerCallback

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.projection import strip_projection
from smoothcse.training import make_config, train
from smoothcse.training.mini_batch import WHOLE_BATCH
from smoothcse.training.selection import DEV_SCORE

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PEER = "sentence-transformers"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 512], help="batch sizes")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of alternating measurements")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["fp32", "bf16", "defaults"],
        help="precisions (default: all that the hardware supports)",
    )
    parser.add_argument(
        "--text",
        type=Path,
        default=SHARED / "data" / "corpus" / "wiki_sentences.txt",
        help="text file to read sentences from",
    )
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument(
        "--models",
        nargs="+",
        choices=list(SHAPES),
        help="encoders: MiniLM is --model, the others have random weights (default: MiniLM; on a GPU, all)",
    )
    parser.add_argument("--seconds", type=float, help="start no further measurement that would end after this time")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    budget = Budget(arguments.seconds)
    quiet_libraries()
    wanted = arguments.precision or (["fp32", "bf16", "defaults"] if len(precisions()) > 1 else ["fp32"])
    found: dict[str, Any] = {"matmul_gflops": {}, "steps": [], "failed": [], "left_out": []}
    with tempfile.TemporaryDirectory() as folder:
        for way in measurements(arguments, wanted, Path(folder), budget, found):
            print(f"{way}; {budget}", flush=True)
            keep(results_name(wanted), found, arguments.quick)
    headings = ["model, batch, precision", "ours", PEER, "ratio", "of peak"]
    caption = f"left out for lack of time: {'; '.join(found['left_out'])}" if found["left_out"] else ""
    show("Seconds per training step", headings, [row(entry) for entry in found["steps"]], caption)
    if found["failed"]:
        sys.exit("\n".join(found["failed"]))


def results_name(wanted: list[str]) -> str:
    """Return the name of the results file for some precisions."""
    return "training_step_fp32" if wanted == ["fp32"] else "training_step"


def measurements(
    arguments: argparse.Namespace, wanted: list[str], folder: Path, budget: Budget, found: dict[str, Any]
) -> Iterator[str]:
    """Measure what was asked for into ``found``, the first precision first; yield a line after each measurement."""
    batches, repeats = ([8], 1) if arguments.quick else (arguments.batch, arguments.repeats)
    names = arguments.models or (list(SHAPES) if first_device() == "cuda" else ["MiniLM"])
    models: dict[str, str] = {}
    longest: dict[str, float] = {}
    for precision, batch, name in product(wanted, batches, names):
        label, started = f"{name}, {batch}, {precision}", budget.spent()
        needed = longest.get(name) or 3 * max(longest.values(), default=0.0)  # models come in the order of size
        if budget.left() < needed:
            found["left_out"].append(label)
            continue
        try:
            models[name] = models.get(name) or encoder_of(name, arguments.model, folder, arguments.quick)
            entry = measure(folder, arguments.text, name, models[name], batch, precision, repeats)
            found["steps"].append(with_peak(entry, found["matmul_gflops"], arguments.quick))
            yield ", ".join(row(entry))
        except Exception as error:  # the others are still worth their time
            found["failed"].append(f"{label}: {type(error).__name__}: {error}")
            yield found["failed"][-1]
        longest[name] = max(longest.get(name, 0.0), budget.spent() - started)


def with_peak(entry: dict[str, Any], peaks: dict[str, float], quick: bool) -> dict[str, Any]:
    """Add the share of the matmul peak, which is measured at the first use of a precision."""
    dtype = entry["computes_in"]
    if dtype not in peaks:
        peaks[dtype] = matmul_peak(DTYPES[dtype], quick)
    entry["peak_share"] = entry["useful_gflop"] / median(entry["seconds"]["ours"]) / peaks[dtype]
    return entry


def row(entry: dict[str, Any]) -> list[str]:
    """Return the cells of one measurement."""
    label = f"{entry['model']}, {entry['batch']}, {entry['precision']}"
    digits = 4 if first_device() == "cuda" else 2
    seconds = [spread(entry["seconds"][way], digits) for way in ("ours", PEER)]
    return [label, *seconds, spread(entry["ratios"]), f"{entry['peak_share']:.0%}"]


def measure(
    folder: Path, text: Path, name: str, model: str, batch: int, precision: str, repeats: int
) -> dict[str, Any]:
    """Alternate short runs of both and return their times."""
    steps = max(3, min(20, 8192 // batch)) if tensor_device() == "cuda" else max(2, min(6, 1024 // batch))
    sentences = load_sentences(text, limit=batch * (steps + 1), seed=0).dataset["sentence"][:]
    (folder / "text.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    ours = {"precision": "auto" if precision == "defaults" else precision}
    peer = {"bf16": precision == "bf16"}  # its default is fp32
    seconds = alternate(
        {
            "ours": lambda: our_step(folder, model, batch, steps, ours),
            PEER: lambda: their_step(folder, model, sentences, batch, steps, peer),
        },
        repeats,
    )
    return {
        "model": name,
        "batch": batch,
        "precision": precision,
        "computes_in": precisions()[-1] if precision == "defaults" else precision,
        "seconds": seconds,
        "ratios": ratios(seconds, "ours", PEER),
        "useful_gflop": useful_gflop(model, sentences[:batch]),
    }


def our_step(folder: Path, model: str, batch: int, steps: int, options: dict[str, Any]) -> float:
    """Return the median seconds from the end of one step to the end of the next."""
    output = folder / "ours"
    fields = {"corpus": str(folder / "text.txt"), "model": model, "pooling": "cls", "output": str(output)}
    fields |= {"batch_size": batch, "max_steps": steps + 1, "epochs": 9, "eval_steps": 10**6, "log_steps": 1}
    config = make_config({**fields, "max_length": MAX_LENGTH, **options})
    train(config, overwrite=True, start_metrics={DEV_SCORE: 0.0}, console=Console(quiet=True))
    entries = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return _median_gap([entry["seconds"] for entry in entries if "loss" in entry])


def their_step(
    folder: Path, model: str, sentences: list[str], batch: int, steps: int, options: dict[str, Any]
) -> float:
    """Return the median seconds per step of the recipe of sentence-transformers."""
    encoder = strip_projection(build_encoder(model, "cls", max_length=MAX_LENGTH))
    clock = Clock()
    trainer = SentenceTransformerTrainer(
        model=encoder,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder / "theirs"),
            per_device_train_batch_size=batch,
            max_steps=steps + 1,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            learning_rate=3e-5,
            use_cpu=tensor_device() == "cpu",  # sentence-transformers refuses bf16 on a CPU without it
            **options,
        ),
        train_dataset=Dataset.from_dict({"first": sentences, "second": sentences}),
        loss=their_loss(encoder, batch),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return _median_gap(clock.times)


def their_loss(encoder: SentenceTransformer, batch: int) -> torch.nn.Module:
    """Return the loss of the recipe, with gradient caching above the same batch size as ours.

    On a GPU, the mini-batch is larger than its default of 32, and BERT-large in fp32 still fits into 80 GB.
    """
    if batch <= WHOLE_BATCH:
        return MultipleNegativesRankingLoss(encoder)
    return CachedMultipleNegativesRankingLoss(encoder, mini_batch_size=512 if first_device() == "cuda" else 32)


class Clock(TrainerCallback):
    """Records the end of each step; logging the loss synchronises the device."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Record the time of the log entry of a step."""
        if "loss" in logs:
            self.times.append(time.perf_counter())


def _median_gap(times: list[float]) -> float:
    """Return the median time between the ends of consecutive steps, without the first, which warms up."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return median(gaps[1:] or gaps)


if __name__ == "__main__":
    main()
