"""Random numbers that are a function of what they are for, not of how many were drawn before.

A run that was resumed, one on several ranks and one in another order draw the same, and no generator has to be saved.
The mixing function is SplitMix64's (Steele et al., OOPSLA 2014).
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685


def uniforms(keys: Tensor, number: int | Tensor) -> Tensor:
    """Return float64 numbers in [0, 1), of the broadcast shape of both arguments.

    Args:
        keys: Long tensor, such as from :func:`row_keys`.
        number: Index of the number among those that belong to a key.
    """
    number = torch.as_tensor(number, device=keys.device)  # the product wraps around, as Python's own does not
    return _shifted(_mixed(keys + _GOLDEN * (number + 1)), 11).double() * 2.0**-53


def row_keys(ids: Tensor, mask: Tensor, seed: int, step: int) -> Tensor:
    """Return a long ``(N,)`` for token ids ``(N, L)``: a hash of what the mask keeps of them, the seed and the step.

    Padding and the other rows do not matter.
    """
    place = mask.long().cumsum(dim=1)
    tokens = (_mixed(ids * _GOLDEN + place) * mask).sum(dim=1)
    seed_there, step_there = (torch.full((), value, device=ids.device) for value in (seed, step))  # copies nothing
    return _mixed(tokens + _mixed(seed_there + _GOLDEN) + _mixed(_mixed(step_there - _GOLDEN)))


def _mixed(value: Tensor) -> Tensor:
    value = (value ^ _shifted(value, 30)) * _FIRST
    value = (value ^ _shifted(value, 27)) * _SECOND
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, bits: int) -> Tensor:
    """Shift to the right, filling with zeros; torch's own shift repeats the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
