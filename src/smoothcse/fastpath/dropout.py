"""Dropout from 16 random bits per element; on CPUs, torch draws a floating-point number per element."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from smoothcse.fastpath.patches import Patches, is_patched_by

_LEVELS = 2**16  # values of the 16 random bits per element


def patch_dropout(model: nn.Module, patches: Patches) -> None:
    """Make every active ``nn.Dropout`` compute :func:`fast_dropout`.

    Args:
        model: Encoder to train on a CPU.
        patches: Changes of the model.
    """
    for module in model.modules():
        if type(module) is nn.Dropout and 0 < module.p < 1:
            patches.replace(module, _forward)


def is_fast(dropout: nn.Module) -> bool:
    """Return whether a dropout module computes :func:`fast_dropout`."""
    return is_patched_by(dropout, _forward)


def fast_dropout(values: Tensor, rate: float) -> Tensor:
    """Drop elements as ``nn.Dropout`` does in training, but faster on a CPU.

    ``y = x m / (1 - p)`` with ``m ~ Bernoulli(1 - p)``. ``p`` is rounded to a multiple of 1/65,536, and the scale is
    that of the rounded rate, so that the expectation is exactly ``x``. The bits come from torch's default generator,
    whose state the trainer saves and restores with a checkpoint.

    Args:
        values: Tensor of any shape.
        rate: ``p``, at least 0 and below 1.

    Returns:
        A tensor of the same shape and dtype.
    """
    dropped: Tensor = _Dropout.apply(values, round(rate * _LEVELS))  # type: ignore[no-untyped-call]
    return dropped


class _Dropout(torch.autograd.Function):
    """Dropout that keeps its mask in at most two bytes per element; autograd on a product would keep it in four."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, dropped_levels: int) -> Tensor:
        # a product with booleans takes four times as long as one of bf16 numbers
        kind = torch.bfloat16 if values.dtype == torch.bfloat16 else torch.bool
        mask = torch.empty(values.numel(), dtype=kind)
        torch.ge(_random_levels(values.numel()), dropped_levels - _LEVELS // 2, out=mask)
        mask, ctx.scale = mask.view(values.shape), _LEVELS / (_LEVELS - dropped_levels)
        ctx.save_for_backward(mask)  # not an attribute, which gradient checkpointing would keep
        dropped: Tensor = (values * mask).mul_(ctx.scale)
        return dropped

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        gradient: Tensor = (gradients[0] * mask).mul_(ctx.scale)
        return gradient, None


def _random_levels(count: int) -> Tensor:
    """Return uniform int16; one 64-bit draw of the CPU's serial generator gives four."""
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:count]


def _forward(dropout: nn.Dropout, values: Tensor) -> Tensor:
    return fast_dropout(values, dropout.p) if dropout.training else values
