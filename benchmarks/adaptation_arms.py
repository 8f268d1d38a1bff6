"""Arms of the adaptation study: candidates of this package, bad settings, and the host's recipes at equal time."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from harness import first_device
from rich.console import Console
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer import losses
from torch import nn
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed

from smoothcse._utils.peak_memory import PeakMemory
from smoothcse.corpus import load_sentences
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.precision import has_fast_bf16
from smoothcse.training import make_config, train
from smoothcse.training.selection import DEV_SCORE

REFERENCE = "sentence"
"""Arm whose training time the host's recipes are given."""

COMMON: dict[str, Any] = {
    "projection": False,
    "symmetric": True,
    "max_length": 64,
    "batch_size": 48,
    "learning_rate": 2e-5,
    "noise_count": 0,
    "dev": "none",
    "precision": "auto",
}
_NOISE = {"noise_count": None, "noise_ratio": 3.0}
_SENTENCE = {"views": "sentence"}

OURS: dict[str, dict[str, Any]] = {
    REFERENCE: _SENTENCE,
    "crops": {"views": "crops"},
    "dropout": {"views": "dropout"},
    "sentence-noise": {**_SENTENCE, **_NOISE},
    "sentence-share0.2": {**_SENTENCE, **_NOISE, "noise_share": 0.2},
    "sentence-share0.4": {**_SENTENCE, **_NOISE, "noise_share": 0.4},
    "sentence-lr5e-5": {**_SENTENCE, "learning_rate": 5e-5},
    "sentence-lr1e-4": {**_SENTENCE, "learning_rate": 1e-4},
    "sentence-lora16": {**_SENTENCE, "lora_rank": 16, "learning_rate": 2e-4},
    "sentence-crops": {"views": "sentence=1,crops=1"},
    "sentence-length128": {**_SENTENCE, "max_length": 128},
    "temperature1": {**_SENTENCE, "temperature": 1.0},
    "lr1e-3": {**_SENTENCE, "learning_rate": 1e-3},
    "lr1e-2": {**_SENTENCE, "learning_rate": 1e-2},
    "dropout-long": {"views": "dropout", "learning_rate": 1e-4, "times": 2},
    "shuffled": {"columns": ["text", "other"]},
}
"""Fields by arm, beside :data:`COMMON`; ``times`` multiplies the steps. Those after sentence-length128 are bad."""

UNTRAINED = ("start", "collapsed")
"""Arms without training, which need one seed: the encoder, and the encoder with (nearly) one vector for all texts."""


@dataclass(frozen=True)
class Trained:
    """A trained model and what training it took; times are from the first step to the last, without loading."""

    model: SentenceTransformer
    seconds: float
    steps: int
    peak_memory_mb: float | None


# ---- ours -------------------------------------------------------------------------------------------------------


def write_text(folder: Path, text: list[str]) -> Path:
    """Write the documents to train on, each beside another one at random as a wrong positive; return the file."""
    others = random.Random(0).sample(text, len(text))
    rows = ({"text": one, "other": other} for one, other in zip(text, others, strict=True))
    file = folder / "text.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def train_ours(arm: str, encoder: str, text: Path, seed: int, steps: int, changes: Mapping[str, Any]) -> Trained:
    """Train one of :data:`OURS`.

    Args:
        arm: Name of the arm.
        encoder: Model to start from.
        text: File from :func:`write_text`; the run is written beside it.
        seed: Seed of the run.
        steps: Training steps.
        changes: Fields that replace those of :data:`COMMON`.
    """
    fields = {"column": "text", **COMMON, **changes, **OURS[arm]}
    steps *= fields.pop("times", 1)
    if "columns" in fields:
        del fields["column"]
    output = text.parent / "run"
    # One log and one evaluation, after the last step: the span measured is that of all steps, and of nothing else.
    config = make_config(
        {
            **fields,
            "corpus": str(text),
            "model": encoder,
            "output": str(output),
            "max_steps": steps,
            "eval_steps": steps,
            "log_steps": steps,
            "seed": seed,
        }
    )
    train(config, overwrite=True, start_metrics={DEV_SCORE: 0.0}, console=Console(quiet=True))
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    model = load_encoder(output / "last", device=first_device())
    return Trained(model, record["times"]["step_seconds"] * steps, steps, record.get("peak_memory_mb"))


def untrained(arm: str, encoder: str) -> Trained:
    """Return one of :data:`UNTRAINED`."""
    model = load_encoder(encoder, device=first_device())
    if arm == "collapsed":
        last = [module for module in model.modules() if isinstance(module, nn.LayerNorm)][-1]
        last.weight.data.mul_(1e-4)
    return Trained(model, 0.0, 0, None)


# ---- the host's recipes --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """An unsupervised recipe of sentence-transformers, with the settings of its example script.

    Attributes:
        data: Function from the documents to the trainer's data set.
        loss: Function from the model to the loss.
        learning_rate: Peak, reached after a tenth of the time and falling linearly to 0.
        batch_size: Texts per step.
        max_length: Maximum tokens per text in training.
    """

    data: Callable[[list[str]], Dataset]
    loss: Callable[[SentenceTransformer], nn.Module]
    learning_rate: float
    batch_size: int
    max_length: int


def delete_words(text: str, ratio: float = 0.6) -> str:
    """Return the text without a random share of its words, but with at least one.

    It is the host's ``DenoisingAutoEncoderDataset.delete`` with words split at white space, as the tokenizer that it
    takes from nltk needs data to be downloaded.
    """
    words = text.split()
    kept = [word for word in words if random.random() > ratio]
    return " ".join(kept or random.sample(words, min(1, len(words))))


def _pairs_of_itself(text: list[str]) -> Dataset:
    return Dataset.from_dict({"anchor": text, "positive": text})


def _single(text: list[str]) -> Dataset:
    return Dataset.from_dict({"sentence": text})


def _denoising(text: list[str]) -> Dataset:
    def damage(batch: dict[str, list[str]]) -> dict[str, list[str]]:
        return {"noisy": [delete_words(one) for one in batch["text"]], "text": batch["text"]}

    data = Dataset.from_dict({"text": text})
    data.set_transform(damage, columns=["text"], output_all_columns=True)
    return data


HOST: dict[str, Recipe] = {
    "host-simcse": Recipe(_pairs_of_itself, losses.MultipleNegativesRankingLoss, 5e-5, 128, 32),
    "host-simcse-length64": Recipe(_pairs_of_itself, losses.MultipleNegativesRankingLoss, 5e-5, 64, 64),
    "host-tsdae": Recipe(_denoising, losses.DenoisingAutoEncoderLoss, 3e-5, 8, 75),
    "host-ct": Recipe(_single, losses.ContrastiveTensionLossInBatchNegatives, 5e-5, 128, 75),
}
"""Examples ``train_stsb_simcse.py``, ``train_stsb_tsdae.py`` and ``train_stsb_ct-improved.py`` of the host; SimCSE
also with batches of 64 and the length of our arms, and CT with the scale and the similarity of its documentation."""


class Budget(TrainerCallback):
    """Callback that stops after some seconds, with a learning rate that depends on the time spent.

    Args:
        seconds: Seconds from the first step.
        learning_rate: Peak.
        warmup: Share of the time in which the learning rate rises.
    """

    def __init__(self, seconds: float, learning_rate: float, warmup: float = 0.1) -> None:
        self.seconds, self.learning_rate, self.warmup = seconds, learning_rate, warmup
        self.started: float | None = None
        self.spent = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the learning rate of the step."""
        now = time.perf_counter()
        self.started = now if self.started is None else self.started
        share = min(1.0, (now - self.started) / self.seconds)
        height = min(share / self.warmup, (1 - share) / (1 - self.warmup))
        for group in kwargs["optimizer"].param_groups:
            group["lr"] = self.learning_rate * max(height, 1e-3)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop when the time is over."""
        self.spent = time.perf_counter() - (self.started or 0.0)
        control.should_training_stop = self.spent >= self.seconds


def train_host(arm: str, encoder: str, text: Path, seed: int, seconds: float) -> Trained:
    """Train one of :data:`HOST` for some seconds.

    Args:
        arm: Name of the arm.
        encoder: Model to start from, read by its own pooling.
        text: File from :func:`write_text`.
        seed: Seed of the run.
        seconds: Training time.
    """
    recipe, device = HOST[arm], first_device()
    sentences: list[str] = load_sentences(text, column="text").dataset["sentence"][:]
    set_seed(seed)
    random.seed(seed)
    model = load_encoder(encoder, device=device)
    memory, own_length = PeakMemory(device), model.max_seq_length
    memory.restart()
    model.max_seq_length = min(recipe.max_length, own_length or recipe.max_length)
    budget = Budget(seconds, recipe.learning_rate)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(text.parent / "host"),
            per_device_train_batch_size=min(recipe.batch_size, len(sentences)),
            max_steps=1_000_000,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="constant",  # the callback sets it
            bf16=has_fast_bf16(device),  # the examples use half precision, too
            use_cpu=device == "cpu",
            seed=seed,
            dataloader_drop_last=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=recipe.data(sentences),
        loss=recipe.loss(model),
        callbacks=[budget],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    model.max_seq_length = own_length
    peak = memory.bytes()
    return Trained(model, budget.spent, trainer.state.global_step, peak and peak / 1e6)
