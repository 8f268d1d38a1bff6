"""Which runs can divide their encoder among the devices."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from packaging.version import Version

from smoothcse.encoders.hardware import Hardware
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.table import Method
from smoothcse.runs.config import TrainConfig

OLDEST = "5.23"  # of transformers, with which tests/training/test_sharding.py has passed


def require_shardable(config: TrainConfig, method: Method, hardware: Hardware) -> None:
    """Check that a run can divide its encoder.

    Args:
        config: Checked configuration with ``shard``.
        method: Training method.
        hardware: Device, number of ranks and precision.

    Raises:
        SmoothCSEError: If the run has one device, or its method, precision or transformers does not allow it.
    """
    for problem in _problems(config, method, hardware):
        raise SmoothCSEError(problem)


def _problems(config: TrainConfig, method: Method, hardware: Hardware) -> Iterator[str]:
    if hardware.world_size == 1:
        yield (
            "shard divides the encoder among several devices, and this run has one; start it with --devices 2 or "
            "more, or leave out shard and save memory with gradient_checkpointing."
        )
    if method.reads_weights:
        yield (
            f"The method {config.method.name} reads weights of the encoder outside of its forward pass, when a "
            "sharded encoder does not have them; leave out shard, or choose another method, such as simcse."
        )
    if getattr(config.method, "mlm_weight", 0):
        yield (
            "mlm_weight reads the word embeddings outside of the encoder's forward pass, when a sharded encoder does "
            "not have them; leave out shard, or set mlm_weight to 0."
        )
    if hardware.precision == "fp16":
        yield "shard does not scale the loss of fp16; use precision bf16 or fp32."
    installed = metadata.version("transformers")
    if Version(installed) < Version(OLDEST):
        yield (
            f"shard needs transformers {OLDEST} or newer, and {installed} is installed; upgrade it, or leave out "
            "shard."
        )
