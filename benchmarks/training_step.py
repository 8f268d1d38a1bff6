"""Compare the time of a training step with that of sentence-transformers' own SimCSE recipe, on the same sentences.

Both run in their trainer, from text to updated weights, alternately. The recipe is two equal columns under
``MultipleNegativesRankingLoss``, or under its cached version for batches of more than 1,024, for which this package
caches gradients too. On a GPU, BERT-base and BERT-large with random weights are measured too.

Without hardware support for bf16, both default to fp32, and only fp32 is measured.

    python benchmarks/training_step.py [--batch 64 512] [--precision fp32 bf16] [--repeats 3] [--quick]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from harness import SHARED, alternate, first_device, keep, matmul_peak, precisions, ratios, show, spread
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
from transformers import BertConfig, BertModel, PrinterCallback, TrainerCallback

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.projection import strip_projection
from smoothcse.training import make_config, train
from smoothcse.training.mini_batch import WHOLE_BATCH
from smoothcse.training.selection import DEV_SCORE

MAX_LENGTH = 32
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SHAPES: dict[str, dict[str, int]] = {"bert-base": {}, "bert-large": LARGE}
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
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    batches, repeats = ([8], 1) if arguments.quick else (arguments.batch, arguments.repeats)
    wanted = arguments.precision or (["fp32", "bf16", "defaults"] if len(precisions()) > 1 else ["fp32"])
    with tempfile.TemporaryDirectory() as folder:
        models = {"MiniLM" if arguments.model == "packaged-minilm" else arguments.model: arguments.model}
        if first_device() == "cuda":
            models |= {name: random_bert(Path(folder) / name, shape) for name, shape in SHAPES.items()}
        found = [
            measure(Path(folder), arguments.text, name, model, batch, precision, repeats)
            for name, model in models.items()
            for batch in batches
            for precision in wanted
        ]
    computed_in = sorted({entry["computes_in"] for entry in found})
    peaks = {precision: matmul_peak(DTYPES[precision], arguments.quick) for precision in computed_in}
    for entry in found:
        gflops = entry["useful_gflop"] / median(entry["seconds"]["ours"])
        entry["peak_share"] = gflops / peaks[entry["computes_in"]]
    headings = ["model, batch, precision", "ours", PEER, "ratio", "of peak"]
    show("Seconds per training step", headings, [row(entry) for entry in found])
    keep("training_step", {"matmul_gflops": peaks, "steps": found}, arguments.quick)


def row(entry: dict[str, Any]) -> list[str]:
    """Return the cells of one measurement."""
    label = f"{entry['model']}, {entry['batch']}, {entry['precision']}"
    seconds = [spread(entry["seconds"][way]) for way in ("ours", PEER)]
    return [label, *seconds, spread(entry["ratios"]), f"{entry['peak_share']:.0%}"]


def measure(
    folder: Path, text: Path, name: str, model: str, batch: int, precision: str, repeats: int
) -> dict[str, Any]:
    """Alternate short runs of both and return their times."""
    steps = max(2, min(6, 1024 // batch))
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
            use_cpu=first_device() == "cpu",  # sentence-transformers refuses bf16 on a CPU without it
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

    On a GPU, the mini-batch is larger than its default of 32.
    """
    if batch <= WHOLE_BATCH:
        return MultipleNegativesRankingLoss(encoder)
    return CachedMultipleNegativesRankingLoss(encoder, mini_batch_size=1024 if first_device() == "cuda" else 32)


class Clock(TrainerCallback):
    """Records the end of each step; logging the loss synchronises the device."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        """Record the time of the log entry of a step."""
        if "loss" in logs:
            self.times.append(time.perf_counter())


def useful_gflop(model: str, sentences: list[str]) -> float:
    """Return the GFLOP of two views of a batch without padding: 6 FLOP per token and non-embedding weight."""
    encoder: SentenceTransformer = build_encoder(model, "cls", max_length=MAX_LENGTH)
    layers = sum(p.numel() for name, p in encoder[0].named_parameters() if ".encoder." in name or ".layer." in name)
    tokens = 2 * int(encoder.preprocess(sentences)["attention_mask"].sum())
    return 6 * layers * tokens / 1e9


def random_bert(folder: Path, shape: dict[str, int]) -> str:
    """Save a BERT of a published shape with random weights and MiniLM's tokenizer; return its folder."""
    BertModel(BertConfig(**shape)).save_pretrained(folder)
    build_encoder("packaged-minilm").tokenizer.save_pretrained(folder)
    return str(folder)


def _median_gap(times: list[float]) -> float:
    """Return the median time between the ends of consecutive steps, without the first, which warms up."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return median(gaps[1:] or gaps)


if __name__ == "__main__":
    main()
