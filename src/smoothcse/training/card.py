"""The start-up card: what a run will do and how long it will take, printed before the first step."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device

from smoothcse.encoders.pooling import pooling_of
from smoothcse.methods import ContrastiveLoss
from smoothcse.methods.table import Method
from smoothcse.objectives import Noise, log_expected_similarity
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.host_settings import accumulated_batches
from smoothcse.runs.loss_words import describe_loss
from smoothcse.runs.text_words import describe_tokens
from smoothcse.training.callbacks.monitors import views_differ
from smoothcse.training.inputs import RunInputs
from smoothcse.training.plan import RunPlan
from smoothcse.training.reading import closeness, reading
from smoothcse.training.text_check import TextCheck
from smoothcse.views.choice import describe_views

_WARM_UP = 8
"""Sentences of the warm-up step, which loads the kernels and is not timed."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """Duration and noise share of one step, measured on the first sentences.

    Attributes:
        seconds: Duration of a forward and a backward pass over the given sentences.
        noise_share: Noise share of the untrained encoder.
    """

    seconds: float
    noise_share: float


def probe(
    model: SentenceTransformer,
    loss: ContrastiveLoss,
    columns: list[list[str]],
    prompts: list[str],
    max_length: int,
    autocast_dtype: torch.dtype | None,
) -> Probe:
    """Time one step after a warm-up step, without changing weights, gradients or random state."""
    device = model.device
    was_training = model.training
    loss.train()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _autocast_inside(model, autocast_dtype):
        for rows in (_WARM_UP, None):
            features = [
                batch_to_device(model.preprocess(texts[:rows], prompt=prompt, max_length=max_length), device)
                for texts, prompt in zip(columns, prompts, strict=True)
            ]
            started = time.perf_counter()
            value = loss.loss_at(0, features)
            value.backward()
            share = loss.batch_noise_share() or 0.0
            seconds = time.perf_counter() - started
    loss.zero_grad(set_to_none=True)  # those of the model and of the weights that the method trains beside it
    model.train(was_training)
    return Probe(seconds, share)


@contextmanager
def _autocast_inside(model: SentenceTransformer, dtype: torch.dtype | None) -> Iterator[None]:
    """Run the model's forward under autocast, as the trainer does; a cached loss calls it in its backward pass too."""
    if dtype is None:
        yield
        return
    model.forward = torch.autocast(model.device.type, dtype=dtype)(model.forward)
    try:
        yield
    finally:
        del model.forward


def start_card(
    plan: RunPlan,
    inputs: RunInputs,
    *,
    text: TextCheck,
    measured: Probe,
    step_seconds: float,
    start_score: float,
    evaluation_seconds: float,
) -> Panel:
    """Return the card as a rich panel.

    Args:
        plan: Plan of the run.
        inputs: Text, encoder and criterion.
        text: Result of the text check.
        measured: Measurement of one step.
        step_seconds: Duration of a whole step, estimated from the measurement.
        start_score: Score of the untrained encoder.
        evaluation_seconds: Duration of one evaluation.
    """
    config, corpus, steps = plan.config, inputs.corpus, inputs.steps
    sentences = steps * config.batch_size * accumulated_batches(config.trainer_args)
    evaluations = math.ceil(steps / config.eval_steps)
    noise = _noise_words(plan.noise, config.temperature, inputs.model)
    hard = f" + {config.batch_size} hard" if len(config.columns or ()) > 2 else ""
    rows = {
        corpus.report.unit: f"{len(corpus):,} from {config.corpus}",
        "tokens": describe_tokens(dataclasses.asdict(text)),
        "duplicates": f"{text.duplicates:.1%} of the sentences, after truncation",
        "encoder": f"{config.model}, {_trainable(config, inputs.model)}, read "
        f"{reading(config, plan.method, pooling_of(inputs.model))}",
        "views": _views(config, inputs),
        "steps": f"{steps:,} of batch {config.batch_size} ({sentences / len(corpus):.2f} epochs)",
        "negatives": f"{config.batch_size - 1} in the batch{hard} + {noise}",
        "loss": describe_loss(config),
        "dimensions": ", ".join(map(str, _dimensions(config, inputs.model))),
        "weights": closeness(config),
        "noise share": f"{measured.noise_share:.1%} of the negative mass at the start" if plan.noise.count else "",
        "trainer": ", ".join(f"{name} {value}" for name, value in config.trainer_args.items()),
        "memory": _memory(plan),
        "hardware": plan.hardware.describe(),
        "selected by": f"{inputs.criterion.name}; at the start {start_score:.2f}",
        "time": f"about {duration(steps * step_seconds + evaluations * evaluation_seconds)}",
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for term, words in rows.items():
        if words:
            table.add_row(term, Text(words))  # as text, so that a path is not read as markup or emoji
    return Panel(table, title=method_title(config, plan.method), expand=False)


def _memory(plan: RunPlan) -> str:
    """Describe what saves memory on each device."""
    shared = f"weights divided among {plan.hardware.world_size} devices" if plan.config.shard else ""
    again = "activations computed again in the backward pass" if plan.config.gradient_checkpointing else ""
    return ", ".join(words for words in (shared, again) if words)


def _dimensions(config: TrainConfig, model: SentenceTransformer) -> list[int]:
    """Return the widths of Matryoshka training, the full one first; empty without it."""
    full = model.get_embedding_dimension() or 0
    return sorted({*config.matryoshka, full}, reverse=True) if config.matryoshka else []


def _views(config: TrainConfig, inputs: RunInputs) -> str:
    """Describe the views; under dropout, only if it is that of the adapters alone."""
    if inputs.views:
        return describe_views(config.views, config.crop_length, config.crop_deletion)
    # Adapters start at 0, so that only the encoder's own dropout makes views differ now.
    if (
        config.columns
        or not config.lora
        or views_differ(inputs.model, inputs.corpus.dataset[:8]["sentence"], config.max_length)
    ):
        return ""
    return "under the dropout of the LoRA adapters; the encoder itself has none"


def _trainable(config: TrainConfig, model: SentenceTransformer) -> str:
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters()) - trainable
    rest = f" and {frozen / 1e6:.1f}M frozen ones" if config.train_layers or config.lora else ""
    return f"{trainable / 1e6:.1f}M trainable parameters{rest}"


def method_title(config: TrainConfig, method: Method) -> str:
    """Return the title of the card: the method, and whether it uses noise."""
    noise_count = config.noise_for(config.batch_size)
    if config.method.name != "simcse":
        return method.title + (", with noise" if noise_count else "")
    if config.columns:
        return f"Supervised SimCSE{', with noise' if noise_count else ''}"
    return "GS-InfoNCE" if noise_count else "InfoNCE (SimCSE): no noise, the control"


def _noise_words(noise: Noise, temperature: float, model: SentenceTransformer) -> str:
    if not noise.count:
        return "no noise"
    width = model.get_embedding_dimension() or 1
    mass = noise.weight * noise.count * math.exp(log_expected_similarity(width, temperature))
    weight = "" if noise.weight == 1 else f" x λ {noise.weight:g}"
    mode = "expected" if noise.mode == "expected" else "drawn"
    return f"{noise.count} Gaussian{weight}, {mode} (expected mass {mass:.0f})"


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
