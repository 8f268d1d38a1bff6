"""The start-up card: what is about to happen, before it takes an hour."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device

from smoothcse.corpus import Corpus
from smoothcse.encoders.pooling import pooling_of
from smoothcse.encoders.prompts import prompt_of
from smoothcse.methods import ContrastiveLoss
from smoothcse.methods.table import find_method
from smoothcse.objectives import log_expected_similarity
from smoothcse.runs.config import TrainConfig
from smoothcse.training.reading import reading
from smoothcse.training.text_check import TextCheck

_WARM_UP = 8
"""Sentences of the step that loads the kernels."""


@dataclass(frozen=True)
class Probe:
    """What one step of the coming run costs and what its noise does, measured on its first sentences.

    Attributes:
        seconds: of a forward and backward pass of the sentences given.
        noise_share: at the untrained start.
    """

    seconds: float
    noise_share: float


def probe(
    model: SentenceTransformer,
    loss: ContrastiveLoss,
    columns: list[list[str]],
    max_length: int,
    autocast_dtype: torch.dtype | None,
) -> Probe:
    """Run a small step and the one that is timed, and leave weights, gradients and random state as they were."""
    device, prompt = model.device, prompt_of(model)
    was_training = model.training
    loss.train()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _autocast_inside(model, autocast_dtype):
        for rows in (_WARM_UP, None):
            features = [
                batch_to_device(model.preprocess(texts[:rows], prompt=prompt, max_length=max_length), device)
                for texts in columns
            ]
            started = time.perf_counter()
            value = loss.loss_at(0, features)
            value.backward()
            share = loss.batch_noise_share() or 0.0
            seconds = time.perf_counter() - started
    loss.zero_grad(set_to_none=True)  # of the model, and of what the method trains beside it
    model.train(was_training)
    return Probe(seconds, share)


@contextmanager
def _autocast_inside(model: SentenceTransformer, dtype: torch.dtype | None) -> Iterator[None]:
    """Put a model's forward under autocast, as the trainer does: a cached loss calls it in its backward pass, too."""
    if dtype is None:
        yield
        return
    model.forward = torch.autocast(model.device.type, dtype=dtype)(model.forward)
    try:
        yield
    finally:
        del model.forward


def start_card(
    config: TrainConfig,
    corpus: Corpus,
    model: SentenceTransformer,
    *,
    text: TextCheck,
    steps: int,
    step_seconds: float,
    hardware: str,
    criterion: str,
    start_score: float,
    measured: Probe,
    evaluation_seconds: float,
) -> Panel:
    """Return the card as something rich can print."""
    count = config.noise_for(config.batch_size)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    evaluations = math.ceil(steps / config.eval_steps)
    hard = f" + {config.batch_size} hard" if len(config.columns or ()) > 2 else ""
    rows = {
        corpus.report.unit: f"{len(corpus):,} from {config.corpus}",
        "text": f"{text.unknown:.1%} of the tokens unknown, {text.cut:.1%} cut away; {text.twins:.1%} of the "
        "sentences are then the same as another (repetitions are dropped before)",
        "encoder": f"{config.model}, {trainable / 1e6:.1f}M trainable parameters, read "
        f"{reading(config, pooling_of(model))}",
        "steps": f"{steps:,} of batch {config.batch_size} ({steps * config.batch_size / len(corpus):.2f} epochs)",
        "negatives": f"{config.batch_size - 1} in the batch{hard} + {_noise_words(config, count, model)}",
        "noise share": f"{measured.noise_share:.1%} of the negative mass at the start" if count else "",
        "hardware": hardware,
        "selected by": f"{criterion}; at the start {start_score:.2f}",
        "time": f"about {duration(steps * step_seconds + evaluations * evaluation_seconds)}",
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for term, words in rows.items():
        if words:
            table.add_row(term, Text(words))  # neither markup nor emoji, whatever a path is called
    return Panel(table, title=method_title(config), expand=False)


def method_title(config: TrainConfig) -> str:
    """Return the name of what a run learns by."""
    noise_count = config.noise_for(config.batch_size)
    if config.method != "simcse":
        return find_method(config.method).title + (", with noise" if noise_count else "")
    if config.columns:
        return f"Supervised SimCSE{', with noise' if noise_count else ''}"
    return "GS-InfoNCE" if noise_count else "InfoNCE (SimCSE): no noise, the control"


def _noise_words(config: TrainConfig, count: int, model: SentenceTransformer) -> str:
    if not count:
        return "no noise"
    width = model.get_embedding_dimension() or 1
    mass = config.noise_weight * count * math.exp(log_expected_similarity(width, config.temperature))
    weight = "" if config.noise_weight == 1 else f" x λ {config.noise_weight:g}"
    mode = "expected" if config.noise_mode == "expected" else "drawn"
    return f"{count} Gaussian{weight}, {mode} (expected mass {mass:.0f})"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
