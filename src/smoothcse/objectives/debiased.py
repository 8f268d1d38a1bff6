r"""Debiased contrastive loss (Chuang et al., NeurIPS 2020): in-batch negatives corrected for false ones.

If a negative drawn at random is a positive with probability ``t``, the mass of ``n`` true negatives is estimated as

.. math:: N' = \max\Bigl(\frac{N - t\,n\,P}{1 - t},\; n\,e^{-1/τ}\Bigr), \qquad
          N = \sum_{j \ne i} e^{s(z1_i, z2_j)}, \quad P = e^{s(z1_i, z2_i)}

and takes the place of ``N`` in the loss. Above the lower bound, the correction raises the gradient without changing
its direction; at the bound, the negatives have no gradient. The estimate assumes that a pair of views is no closer
than two sentences of one class. Dropout views are much closer, so that at a low temperature they are nearly always at
the bound.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SMALLEST = 1e-6
"""Smallest fraction of ``N`` that may remain, so that its logarithm has a gradient."""


def debiased_negatives(own: Tensor, negatives: Tensor, *, prior: float, count: int, temperature: float) -> Tensor:
    """Return ``log N'`` of each anchor.

    Args:
        own: ``log P``, ``(N,)``.
        negatives: ``log N``, ``(N,)``.
        prior: ``t``, in (0, 1).
        count: ``n``, number of negatives of an anchor; without any, there is nothing to correct.
        temperature: ``τ > 0``.
    """
    if not count:
        return negatives
    log_excess = own + math.log(prior * count) - negatives  # of t n P over N
    kept = torch.log(-torch.expm1(log_excess.clamp(max=-_SMALLEST)))
    bound = torch.full_like(negatives, math.log(count) - 1.0 / temperature)
    return torch.where(log_excess < 0, torch.maximum(negatives + kept - math.log1p(-prior), bound), bound)
