"""The fields of :class:`~smoothcse.runs.config.TrainConfig` as keyword arguments, for type checkers and editors."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, Literal, TypedDict

from smoothcse.methods.settings import MethodSettings
from smoothcse.runs.host_settings import HostValue


class TrainOptions(TypedDict, total=False):
    """Fields of :class:`~smoothcse.runs.config.TrainConfig`, which has their descriptions and defaults."""

    corpus: str | PathLike[str]
    column: str | None
    columns: list[str] | None
    limit: int | None
    model: str | PathLike[str]
    pooling: Literal["cls", "mean", "max", "lasttoken", "avg_first_last", "avg_top2"] | None
    bidirectional: bool
    projection: bool
    max_length: int
    lora_rank: int | None
    lora_alpha: float | None
    lora_dropout: float
    lora_targets: list[str] | None
    keep_adapters: bool
    views: str | dict[str, float]
    crop_length: list[float]
    crop_deletion: float
    title_column: str
    language: str
    dropout: float | None
    method: str | Mapping[str, Any] | MethodSettings
    noise_count: int | None
    noise_ratio: float | None
    noise_weight: float
    noise_share: float | None
    noise_mode: Literal["sampled", "expected"]
    noise_mean: float
    noise_std: float
    temperature: float
    hard_negative_log_weight: float
    matryoshka: list[int] | None
    symmetric: bool
    ratio: float | None
    hinge: float | None
    key_gradient: Literal["all", "positives", "none"]
    margin: float
    decoupled: bool
    positive_prior: float | None
    adaptive_temperature: float | None
    false_negative_threshold: float | None
    batch_size: int
    learning_rate: float
    epochs: float
    max_steps: int | None
    lr_scheduler: Literal["linear", "cosine", "constant"]
    warmup_ratio: float
    weight_decay: float
    start_decay: float
    train_layers: int | None
    adam_epsilon: float
    max_grad_norm: float
    seed: int
    dev: str | PathLike[str] | None
    eval_steps: int
    output: str | PathLike[str]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    mini_batch: Literal["auto"] | int | None
    gradient_checkpointing: bool
    shard: bool
    workers: int
    deterministic: bool
    fast_path: bool
    log_steps: int
    trainer_args: dict[str, HostValue]
