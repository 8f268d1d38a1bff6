"""Compare the quality of models trained by the fast and by the plain path: STS-B dev over seeds.

The plain path is the trainer of sentence-transformers with torch's dropout, two padded forwards per batch and the
explicit cross-entropy below. Everything else is equal: start, head, text, batch, steps, learning rate, temperature.
The plain model is also scored after its training head, which SimCSE omits at test time.

    python benchmarks/quality.py TEXT STS_FOLDER [--seeds 3] [--steps 60] [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from harness import keep, show
from rich.console import Console
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from torch import Tensor, nn
from torch.nn import functional
from transformers import PrinterCallback, set_seed

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.projection import head_of
from smoothcse.training import TrainConfig, make_config, train
from smoothcse.training.selection import DEV_SCORE, stsb_dev

LEARNING_RATE = 1e-4
AFTER_HEAD = "plain, read after its head"


def main() -> None:
    """Train by both paths with each seed; print and write the results."""
    arguments = parse(__doc__)
    quiet_libraries()
    seeds, steps, batch = (1, 2, 4) if arguments.quick else (arguments.seeds, arguments.steps, 64)
    scores: dict[str, list[float]] = {"fast": [], "plain": [], AFTER_HEAD: []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            config = configuration(arguments.text, arguments.sts, Path(folder) / "run", batch, steps, seed)
            result = train(config, overwrite=True, start_metrics={DEV_SCORE: 0.0}, console=Console(quiet=True))
            scores["fast"].append(result.last_score)
            for name, score in zip(("plain", AFTER_HEAD), plainly(config, steps), strict=True):
                scores[name].append(score)
    differences = [fast - plain for fast, plain in zip(scores["fast"], scores["plain"], strict=True)]
    rows = [[name, *(f"{score:.2f}" for score in values), _mean_sd(values)] for name, values in scores.items()]
    rows.append(["fast - plain", *(f"{value:+.2f}" for value in differences), _mean_sd(differences)])
    headings = ["path", *(f"seed {seed}" for seed in range(seeds)), "mean ± sd"]
    show(f"STS-B dev after {steps} steps of InfoNCE, batch {batch}", headings, rows)
    keep("quality", {"steps": steps, "batch": batch, "scores": scores, "differences": differences}, arguments.quick)


def parse(description: str) -> argparse.Namespace:
    """Return the arguments of a comparison over seeds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="text file")
    parser.add_argument("sts", type=Path, help="folder of STS tasks in SentEval's layout")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--steps", type=int, default=60, help="training steps")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    return parser.parse_args()


def configuration(text: Path, sts: Path, output: Path, batch: int, steps: int, seed: int) -> TrainConfig:
    """Return the configuration of both runs."""
    return make_config(
        {
            "corpus": str(text),
            "dev": str(sts),
            "model": "packaged-minilm",
            "pooling": "cls",
            "output": str(output),
            "noise_count": 0,
            "batch_size": batch,
            "max_steps": steps,
            "eval_steps": steps,
            "learning_rate": LEARNING_RATE,
            "seed": seed,
            "precision": "fp32",
        }
    )


def plainly(config: TrainConfig, steps: int) -> tuple[float, float]:
    """Train by the plain path and return the dev scores before and after the head."""
    corpus = load_sentences(config.corpus, limit=config.limit, seed=config.seed)
    set_seed(config.seed)
    model = build_encoder(config.model, config.pooling, max_length=None, device="cpu", seed=config.seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=config.batch_size,
                max_steps=steps,
                learning_rate=config.learning_rate,
                warmup_steps=0,
                seed=config.seed,
                dataloader_drop_last=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=corpus.dataset,
            loss=PlainInfoNCE(model, config.temperature),
            data_collator=SentenceTransformerDataCollator(model.preprocess, max_length=config.max_length),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    criterion = stsb_dev(config.dev or "")
    before = criterion.score(model)[DEV_SCORE]
    head_of(model).module_output_name = "sentence_embedding"
    return before, criterion.score(model)[DEV_SCORE]


class PlainInfoNCE(nn.Module):
    """The loss of unsupervised SimCSE in its simplest form.

    Args:
        model: Encoder with a training head.
        temperature: Temperature of the logits.
    """

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature

    def forward(self, columns: list[dict[str, Any]], labels: Tensor | None = None) -> Tensor:
        """Return the loss of one batch."""
        first, second = (self.model(dict(columns[0]))["projection"] for _ in range(2))
        cosines = functional.cosine_similarity(first.unsqueeze(1), second.unsqueeze(0), dim=2)
        return functional.cross_entropy(cosines / self.temperature, torch.arange(len(first)))


def _mean_sd(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else "one seed"


if __name__ == "__main__":
    main()
