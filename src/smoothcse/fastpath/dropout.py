"""Dropout whose random bits cost a CPU little: torch's own draws one number per element, one after the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 2**16  # of the 16 random bits that decide on an element


class FastDropout(nn.Module):
    """Dropout for CPUs that spends 16 random bits on an element instead of a floating-point draw.

    ``y = x m / (1 - p)`` with ``m ~ Bernoulli(1 - p)``, as ``nn.Dropout``; ``p`` is rounded to a multiple of
    1/65,536, and the scale is that of the rounded rate, so that the expectation is exactly ``x``. The bits come from
    torch's default generator, whose state the host saves and restores with a checkpoint.

    Args:
        p: rate, between 0 and 1 (both excluded).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape and dtype; the argument itself outside of training."""
        if not self.training:
            return values
        dropped: Tensor = _Dropout.apply(values, round(self.p * _LEVELS))  # type: ignore[no-untyped-call]
        return dropped

    def extra_repr(self) -> str:
        """Return the rate, for printing."""
        return f"p={self.p}"


class _Dropout(torch.autograd.Function):
    """Keeps the mask in one byte per element; autograd on a product would keep it in four."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, dropped_levels: int) -> Tensor:
        mask = _random_levels(values.numel()) >= dropped_levels - _LEVELS // 2
        ctx.mask, ctx.scale = mask.view(values.shape), _LEVELS / (_LEVELS - dropped_levels)
        dropped: Tensor = (values * ctx.mask).mul_(ctx.scale)
        return dropped

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient: Tensor = (gradients[0] * ctx.mask).mul_(ctx.scale)
        return gradient, None


def use_fast_dropout(model: nn.Module) -> None:
    """Put :class:`FastDropout` in the place of every active ``nn.Dropout``; nothing that is saved changes."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Dropout and 0 < child.p < 1:
                setattr(module, name, FastDropout(child.p).train(child.training))


def _random_levels(count: int) -> Tensor:
    """Return uniform int16: one 64-bit draw of the CPU's serial generator makes four."""
    words = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:count]
