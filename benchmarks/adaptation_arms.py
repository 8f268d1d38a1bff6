"""Arms of the adaptation study: candidates of this package, bad settings, and untrained encoders."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptation_mining import mined_negatives
from harness import first_device
from rich.console import Console
from sentence_transformers import SentenceTransformer
from torch import nn

from smoothcse.encoders.load import load_encoder
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
    "crops-length128": {"views": "crops", "max_length": 128},
    "sentence-batch128": {**_SENTENCE, "batch_size": 128, "times": 48 / 128},
    "sentence-last2": {**_SENTENCE, "train_layers": 2},
    "sentence-queue": {**_SENTENCE, "method": {"name": "esimcse", "queue_size": 120}},
    "sentence-mined": {**_SENTENCE, "mined": True},
    "temperature1": {**_SENTENCE, "temperature": 1.0},
    "lr1e-3": {**_SENTENCE, "learning_rate": 1e-3},
    "lr1e-2": {**_SENTENCE, "learning_rate": 1e-2},
    "dropout-long": {"views": "dropout", "learning_rate": 1e-4, "times": 2},
    "shuffled": {"columns": ["text", "other"]},
}
"""Fields by arm, beside :data:`COMMON`. Those after sentence-mined are bad.

``times`` multiplies the steps: with batches of 128, the run reads as many texts as the others. The queue of ESimCSE
keeps the last 2.5 batches of first views, here the sentences. ``mined`` adds a hard negative to each text.
"""

UNTRAINED = ("start", "collapsed")
"""Arms without training, which need one seed: the encoder, and the encoder with (nearly) one vector for all texts."""


@dataclass(frozen=True)
class Trained:
    """A trained model and what training it took; times are from the first step to the last, and of mining."""

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
    steps = max(1, round(steps * fields.pop("times", 1)))
    mining = mined_negatives(encoder, text) if fields.pop("mined", False) else nullcontext(0.0)
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
    with mining as seconds:
        train(config, overwrite=True, start_metrics={DEV_SCORE: 0.0}, console=Console(quiet=True))
    record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    model = load_encoder(output / "last", device=first_device())
    seconds += record["times"]["step_seconds"] * steps
    return Trained(model, seconds, steps, record.get("peak_memory_mb"))


def untrained(arm: str, encoder: str) -> Trained:
    """Return one of :data:`UNTRAINED`."""
    model = load_encoder(encoder, device=first_device())
    if arm == "collapsed":
        last = [module for module in model.modules() if isinstance(module, nn.LayerNorm)][-1]
        last.weight.data.mul_(1e-4)
    return Trained(model, 0.0, 0, None)
