"""The noise share of a batch, and the weight of the noise that holds it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smoothcse.objectives.keys import without_own


def noise_share(logits: Tensor, positive_count: int, noise_columns: int, *, first_positive: int = 0) -> Tensor:
    r"""Fraction of the denominator's *negative* mass that the noise contributes, averaged over anchors.

    .. math::

        \frac1N \sum_i \frac{λ \sum_k e^{s(z1_i, g_k)}}
            {\sum_{j \ne i} e^{s(z1_i, z2_j)} + λ \sum_k e^{s(z1_i, g_k)}}

    Hard negatives count as negatives. Near 0, the smoothing is inactive; near 1, the sentences have no effect.

    Args:
        logits: ``(N, K + M + H)`` from :func:`similarity_logits`.
        positive_count: ``K``.
        noise_columns: Width of the noise block: ``M``, or 1 in expected mode, or 0.
        first_positive: Row of this rank's first positive; see :func:`gs_info_nce`.

    Returns:
        A detached scalar in [0, 1].
    """
    with torch.no_grad():
        if not noise_columns:
            return logits.new_zeros(())
        negatives = without_own(logits, first_positive)
        noise = negatives[:, positive_count : positive_count + noise_columns]
        return (noise.logsumexp(dim=1) - negatives.logsumexp(dim=1)).exp().mean()


def balance_noise(
    logits: Tensor, positive_count: int, noise_columns: int, share: float, *, first_positive: int = 0
) -> Tensor:
    r"""Weight the noise so that it has a given share of each anchor's negative mass.

    .. math::

        λ_i = \frac{share}{1 - share} \cdot
            \frac{\sum_{j \ne i} e^{s(z1_i, z2_j)}}{\sum_k e^{s(z1_i, g_k)}}

    ``λ`` has no gradient. With a fixed ``λ`` the share changes with batch size, ``τ``, ``d`` and the progress of
    training; with this ``λ_i`` it is constant. This is our extension, not part of the paper.

    Args:
        logits: Logits from :func:`similarity_logits` with noise weight 1.
        positive_count: ``K``.
        noise_columns: Width of the noise block: ``M``, or 1 in expected mode.
        share: Share of the noise, in (0, 1).
        first_positive: Row of this rank's first positive; see :func:`gs_info_nce`.

    Returns:
        The logits with ``log λ_i`` added to the noise block.
    """
    rest = logits.shape[1] - positive_count - noise_columns
    sentences, noise, hard_negatives = logits.split([positive_count, noise_columns, rest], dim=1)
    with torch.no_grad():
        negatives = torch.cat([without_own(sentences, first_positive), hard_negatives], dim=1).logsumexp(dim=1)
        log_weight = math.log(share / (1 - share)) + negatives - noise.logsumexp(dim=1)
    return torch.cat([sentences, noise + log_weight.unsqueeze(1), hard_negatives], dim=1)
