r"""SimCSE++ (Xu et al., Findings of EMNLP 2023): negatives without dropout, and a contrast of dimensions.

.. math::

    l_i = -ρ\, s(z1_i, z2_i) + \log\Bigl(e^{ρ\, s(z1_i, z2_i)} + \sum_{j \ne i} e^{s(z0_i, z0_j)}\Bigr)

``z0`` embeds the sentences without dropout, whose noise distorts the similarities of negatives.

.. math::

    C = \frac1N \mathrm{BN}(z1)^\top \mathrm{BN}(z2), \qquad
    L_{dcl} = -\frac1d \sum_c \log \mathrm{softmax}_r(C_{cr} / τ')\big|_{r=c}, \qquad
    L = \frac1N \sum_i l_i + w\, L_{dcl}

``BN`` gives each dimension mean 0 and variance 1 over the batch; each dimension should correlate with itself across
the views and with no other. ``l`` is :func:`~smoothcse.objectives.info_nce` over ``z0``, with the positive logits
replaced.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smoothcse.objectives.rows import at_least_float32, pair_logits


def dropout_pair_logits(first: Tensor, second: Tensor, *, weight: float = 0.9, temperature: float = 0.05) -> Tensor:
    """Return ``ρ s(z1_i, z2_i)``.

    Args:
        first: ``z1``, float ``(N, d)``; need not be normalised.
        second: ``z2``, of the same shape.
        weight: ``ρ``.
        temperature: ``τ > 0``.

    Returns:
        ``(N,)``, in float32 (float64 for float64 input) regardless of autocast.
    """
    return pair_logits(first, second, temperature=temperature, weight=weight)


def dimension_wise_contrast(
    first: Tensor, second: Tensor, *, temperature: float = 5.0, epsilon: float = 1e-5
) -> Tensor:
    """Return ``L_dcl``.

    Args:
        first: ``z1`` of the whole batch, float ``(N, d)``; the statistics are computed over it.
        second: ``z2``, of the same shape.
        temperature: ``τ' > 0``.
        epsilon: Value added to each variance.

    Returns:
        The scalar, in float32 (float64 for float64 input) regardless of autocast.
    """
    with torch.autocast(first.device.type, enabled=False):
        first, second = (_standardised(at_least_float32(view), epsilon) for view in (first, second))
        agreement = first.T @ second / len(first)
        return -(agreement / temperature).log_softmax(dim=1).diagonal().mean()


def _standardised(rows: Tensor, epsilon: float) -> Tensor:
    variance, mean = torch.var_mean(rows, dim=0, correction=0)
    return (rows - mean) / (variance + epsilon).sqrt()
