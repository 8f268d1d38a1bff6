"""Where tensors lie, as far as the way to compute depends on it: one place, which a test can replace."""

from __future__ import annotations

import torch


def is_cpu(device: torch.device) -> bool:
    """Whether this is a CPU, whose caches want small pieces and which can be asked for a value without waiting."""
    return device.type == "cpu"
