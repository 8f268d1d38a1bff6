"""Rules between the fields of a configuration; each field's own range is part of its declaration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING

from smoothcse.views.choice import draws_text

if TYPE_CHECKING:
    from smoothcse.runs.config import TrainConfig


def problems(config: TrainConfig) -> Iterator[str]:
    """Yield one sentence for each rule that the fields break."""
    yield from _text_problems(config)
    yield from _view_problems(config)
    yield from _noise_problems(config)
    yield from _form_problems(config)
    yield from _decay_problems(config)
    yield from _lora_problems(config)
    yield from _memory_problems(config)
    if config.matryoshka and config.projection:
        yield (
            "matryoshka trains the first dimensions of the embedding, and the projection head mixes them; set "
            "projection to false (--no-projection)."
        )


def _text_problems(config: TrainConfig) -> Iterator[str]:
    if config.column is not None and config.columns is not None:
        yield "column and columns are both set; give one of them."
    if config.hard_negative_log_weight and len(config.columns or ()) < 3:
        yield "hard_negative_log_weight applies to hard negatives, the third of the columns; add one to columns."


def _view_problems(config: TrainConfig) -> Iterator[str]:
    if config.columns is not None and draws_text(config.views):
        yield "columns are labelled pairs, whose texts are the views; leave out views, or give column instead."
    if "neighbours" in config.views and config.limit is not None:
        yield "views: neighbours needs the order of the documents, which limit breaks; leave out one of them."
    if "title" in config.views and config.column is None:
        yield "views: title needs column, the name of the text's column, beside title_column."
    shortest, longest = config.crop_length
    if not 0 < shortest <= longest or (longest > 1 and not (shortest.is_integer() and longest.is_integer())):
        yield (
            f"crop_length is {shortest:g} to {longest:g}, but must be two fractions up to 1, such as 0.2,0.6, or two "
            "whole numbers of words, such as 10,30, the smaller one first."
        )
    if "crops" not in config.views:
        for name in _changed(config, "crop_length", "crop_deletion"):
            yield f"{name} applies to crops; add crops to views, or leave it out."


def _noise_problems(config: TrainConfig) -> Iterator[str]:
    if config.noise_count is not None and config.noise_ratio is not None:
        yield "noise_count and noise_ratio both set M; give one of them."
    if config.noise_mode == "expected" and config.noise_mean:
        yield "noise_mode 'expected' has a closed form for noise_mean 0 only; use 'sampled'."
    if config.noise_share is not None and config.noise_weight != 1.0:
        yield "noise_share and noise_weight both set λ; give one of them."
    if not config.noise_for(config.batch_size):
        for name in _changed(config, "noise_share", "noise_weight"):
            yield f"{name} is set, but there is no noise (M = 0); set noise_count, or leave {name} out."


def _form_problems(config: TrainConfig) -> Iterator[str]:
    if config.ratio is not None and config.noise_for(config.batch_size):
        yield (
            "ratio and the noise both raise the pull of the positive, so that the ratio would not be the one given; "
            "set noise_count 0, or leave out ratio."
        )
    if config.hinge is not None and config.ratio is None:
        yield "hinge belongs to ratio; give a ratio, 1 for that of InfoNCE."
    if config.hinge is not None and config.decoupled:
        yield "hinge and decoupled both set how much is learned from an anchor; give one of them."
    if config.hinge is not None and config.margin:
        yield "hinge and margin both set how much is learned from an anchor; give one of them."
    if config.positive_prior is not None:
        yield from _prior_problems(config)


def _prior_problems(config: TrainConfig) -> Iterator[str]:
    if config.false_negative_threshold is not None:
        yield "positive_prior and false_negative_threshold both treat false negatives; give one of them."
    if config.ratio is not None:
        yield "positive_prior takes the push from some anchors, whose ratio is then not ratio; give one of them."
    if len(config.columns or ()) > 2:
        yield "positive_prior corrects negatives drawn at random, not the hard negatives of columns; give two columns."


def _decay_problems(config: TrainConfig) -> Iterator[str]:
    if config.learning_rate * config.start_decay > 1:
        yield (
            f"start_decay {config.start_decay:g} at learning_rate {config.learning_rate:g} pulls the weights past the "
            f"start; give a start_decay of at most {1 / config.learning_rate:g}."
        )


def _lora_problems(config: TrainConfig) -> Iterator[str]:
    if config.lora_rank is None:
        for name in _changed(config, "lora_alpha", "lora_dropout", "lora_targets", "keep_adapters"):
            yield f"{name} applies to LoRA's adapters; set lora_rank (--lora 16), too, or leave it out."
        return
    if config.train_layers is not None:
        yield (
            "lora_rank trains adapters in all layers, and train_layers the weights of the last layers; leave out one "
            "of them."
        )
    if config.start_decay:
        yield (
            "start_decay pulls the encoder's weights toward the start, and lora_rank freezes them; leave out "
            "start_decay, or set weight_decay, which shrinks the adapters and so has the same aim."
        )


def _memory_problems(config: TrainConfig) -> Iterator[str]:
    if config.gradient_checkpointing and config.mini_batch is not None:
        yield (
            "gradient_checkpointing and mini_batch both save memory by computing activations again: gradient caching "
            "already encodes each mini-batch twice with the same dropout, whose random state a third pass would have "
            "to replay once more; give one of them."
        )
    if config.shard and config.mini_batch is not None:
        yield (
            "mini_batch encodes a different number of mini-batches on each device, and all devices share each forward "
            "pass of a sharded encoder; leave out mini_batch, and save memory with gradient_checkpointing."
        )
    if config.shard and config.false_negative_threshold is not None:
        yield (
            "false_negative_threshold keeps a whole copy of the start model on each device, which shard is there to "
            "avoid; leave out one of them."
        )


def _changed(config: TrainConfig, *names: str) -> list[str]:
    """Return which of some fields do not have their defaults."""
    defaults = {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(config)
        if field.name in names
    }
    return [name for name in names if getattr(config, name) != defaults[name]]
