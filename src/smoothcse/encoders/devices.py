"""Kinds of devices that need different algorithms, in one place that a test can replace."""

from __future__ import annotations

import torch


def is_cpu(device: torch.device) -> bool:
    """Return whether a device is a CPU, which prefers small chunks and reads values without synchronisation."""
    return device.type == "cpu"
