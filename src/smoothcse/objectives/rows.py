"""Precision and normalisation of rows, shared by all objectives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return a float64 tensor unchanged, and any other tensor as float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def unit_rows(tensor: Tensor) -> Tensor:
    """Scale the vectors of the last dimension to length 1, in float32 at least; a vector of zeros stays zero."""
    return functional.normalize(at_least_float32(tensor), dim=-1)


def pair_logits(first: Tensor, second: Tensor, *, temperature: float, weight: float = 1.0) -> Tensor:
    """Return the cosine of each pair of rows times ``weight / τ``, ``(N,)``, regardless of autocast."""
    with torch.autocast(first.device.type, enabled=False):
        first, second = unit_rows(first), unit_rows(second)
        return (first * second).sum(dim=1) * (weight / temperature)
