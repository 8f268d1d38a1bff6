"""The plan of a run: a configuration resolved once for this machine."""

from __future__ import annotations

from dataclasses import dataclass

from smoothcse.encoders.hardware import Hardware, find_hardware
from smoothcse.encoders.lora_settings import LoRA
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import Method, find_method
from smoothcse.objectives import GaussianNoise, Noise
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder
from smoothcse.views.choice import draws_text


@dataclass(frozen=True)
class RunPlan:
    """Values that follow from the configuration and the machine alone.

    Attributes:
        config: Checked configuration.
        method: Training method of the configuration.
        hardware: Device, number of ranks and precision.
        folder: Run folder.
        noise: Gaussian negatives of each step; none if the count is 0.
        rank_batch: Sentences per step on each rank.
        lora: Adapters to train in place of the encoder's weights, or None.
    """

    config: TrainConfig
    method: Method
    hardware: Hardware
    folder: RunFolder
    noise: Noise
    rank_batch: int
    lora: LoRA | None

    @property
    def settings(self) -> MethodSettings:
        """Settings of the method."""
        return self.config.method


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
    if config.lora_rank and method.learns_tokens:
        raise SmoothCSEError(
            f"The method {config.method.name} learns the embeddings of new tokens, which LoRA freezes; leave out "
            "lora_rank, or choose another method, such as promptbert."
        )
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
        rank_batch=config.batch_size // hardware.world_size,
        lora=config.lora,
    )


def _noise_of(config: TrainConfig) -> Noise:
    return Noise(
        count=config.noise_for(config.batch_size),
        weight=config.noise_weight,
        share=config.noise_share,
        mode=config.noise_mode,
        source=GaussianNoise(config.seed, config.noise_mean, config.noise_std),
    )
