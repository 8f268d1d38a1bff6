"""Device, ranks and precision of this process."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass

import torch

from smoothcse.encoders.precision import Resolved, resolve_precision


@dataclass(frozen=True)
class Hardware:
    """Hardware of a run.

    Attributes:
        device_type: ``cpu``, ``cuda`` or ``mps``.
        world_size: Number of ranks that share the batch.
        precision: ``fp32``, ``bf16`` or ``fp16``.
    """

    device_type: str
    world_size: int
    precision: Resolved

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """Dtype for autocast; None for fp32."""
        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)

    def describe(self) -> str:
        """Return a readable description."""
        if self.device_type == "cuda":
            device = torch.cuda.get_device_name()
        else:
            device = f"{self.device_type} ({torch.get_num_threads()} threads, {platform.machine()})"
        ranks = f"{self.world_size} x " if self.world_size > 1 else ""
        return f"{ranks}{device}, {self.precision}"


def find_hardware(precision: str) -> Hardware:
    """Return the hardware of this process, with the precision resolved.

    Args:
        precision: Requested precision, see :func:`~smoothcse.encoders.precision.resolve_precision`.

    Raises:
        SmoothCSEError: If the precision is unknown or not available on this device.
    """
    device_type = "cpu" if os.environ.get("SMOOTHCSE_CPU") else _best_device()
    resolved = resolve_precision(precision, "train", device_type)
    return Hardware(device_type, int(os.environ.get("WORLD_SIZE", "1")), resolved)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
