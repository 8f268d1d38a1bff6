"""The plan of a run: a configuration resolved once for this machine."""

from __future__ import annotations

from dataclasses import dataclass, fields

from smoothcse.encoders.hardware import Hardware, find_hardware
from smoothcse.encoders.lora_settings import LoRA
from smoothcse.errors import SmoothCSEError
from smoothcse.fastpath import PARTS, Part
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import Method, find_method
from smoothcse.objectives import GaussianNoise, LossForm, Noise
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder
from smoothcse.training.shardable import require_shardable
from smoothcse.views.choice import DROPOUT, draws_text


@dataclass(frozen=True)
class RunPlan:
    """Values that follow from the configuration and the machine alone.

    Attributes:
        config: Checked configuration.
        method: Training method of the configuration.
        hardware: Device, number of ranks and precision.
        folder: Run folder.
        noise: Gaussian negatives of each step; none if the count is 0.
        form: Formula of the loss.
        rank_batch: Sentences per step on each rank.
    """

    config: TrainConfig
    method: Method
    hardware: Hardware
    folder: RunFolder
    noise: Noise
    form: LossForm
    rank_batch: int

    @property
    def settings(self) -> MethodSettings:
        """Settings of the method."""
        return self.config.method

    @property
    def lora(self) -> LoRA | None:
        """Adapters to train in place of the encoder's weights, or None."""
        return self.config.lora

    @property
    def needs_dropout(self) -> bool:
        """Whether the encoder's dropout alone makes the two views of a text differ.

        The dropout of adapters does so, too, but not before the first step, as adapters start at 0.
        """
        by_adapters = self.lora is not None and self.lora.dropout > 0
        return self.config.columns is None and DROPOUT in self.config.views and not by_adapters

    @property
    def fast_parts(self) -> tuple[Part, ...]:
        """Parts of the fast path that the run takes; a sharded encoder has none."""
        return PARTS if self.config.fast_path and not self.config.shard else ()


def plan_run(config: TrainConfig) -> RunPlan:
    """Resolve a configuration for this machine.

    Args:
        config: Checked configuration.

    Raises:
        SmoothCSEError: If the method does not train on the given columns or views, this machine does not support the
            precision, or the devices cannot share the batch evenly.
    """
    method, hardware = find_method(config.method.name), find_hardware(config.precision)
    if config.columns and not method.pairs:
        raise SmoothCSEError(
            f"The method {config.method.name} makes its own positives from single sentences; give column instead of "
            "columns, or use method simcse to train on labelled pairs."
        )
    if config.symmetric and not method.symmetric:
        raise SmoothCSEError(
            f"The method {config.method.name} contrasts the same views in both directions, so symmetric changes "
            "nothing; leave it out."
        )
    if draws_text(config.views) and not method.pairs:
        raise SmoothCSEError(
            f"The method {config.method.name} makes its own views of a sentence and takes none drawn from the text; "
            "leave out views, or choose another method, such as simcse."
        )
    _require_applicable_form(config, method)
    frozen_by = "lora_rank" if config.lora_rank else "train_layers" if config.train_layers else None
    if frozen_by and method.learns_tokens:
        raise SmoothCSEError(
            f"The method {config.method.name} learns the embeddings of new tokens, which {frozen_by} freezes; leave "
            "it out, or choose another method, such as promptbert."
        )
    if config.shard:
        require_shardable(config, method, hardware)
    if config.batch_size % hardware.world_size:
        raise SmoothCSEError(
            f"batch_size {config.batch_size} cannot be shared evenly by {hardware.world_size} devices; use a "
            f"multiple of {hardware.world_size}."
        )
    return RunPlan(
        config=config,
        method=method,
        hardware=hardware,
        folder=RunFolder(config.output),
        noise=_noise_of(config),
        form=LossForm(**{field.name: getattr(config, field.name) for field in fields(LossForm)}),
        rank_batch=config.batch_size // hardware.world_size,
    )


def _require_applicable_form(config: TrainConfig, method: Method) -> None:
    """Reject options of the objective that the method would ignore or distort."""
    name = config.method.name
    given = "adaptive_temperature" if config.adaptive_temperature is not None else "key_gradient"
    if method.own_logits and (config.adaptive_temperature is not None or config.key_gradient != "all"):
        raise SmoothCSEError(
            f"The method {name} scores its positive pairs by a formula of its own, which {given} does not reach; "
            f"leave {given} out, or choose another method, such as simcse."
        )
    if method.prepare and config.false_negative_threshold is not None:
        raise SmoothCSEError(
            f"The method {name} reads the mask of a template, which says little about meaning before training, so "
            "that its start cannot judge negatives; leave false_negative_threshold out, or choose another method."
        )


def _noise_of(config: TrainConfig) -> Noise:
    return Noise(
        count=config.noise_for(config.batch_size),
        weight=config.noise_weight,
        share=config.noise_share,
        mode=config.noise_mode,
        source=GaussianNoise(config.seed, config.noise_mean, config.noise_std),
    )
