r"""DebCSE, our reading of the abstract (Miao, Du, Zhang; CIKM 2023): pairs drawn by inverse propensity.

According to the abstract, positives and negatives are sampled by inverse propensity weights of surface and semantic
similarity, to remove the biases of simple rules for building pairs. There are no formulas and no code; the following
is our interpretation.

Let :math:`S_{ij}` be the semantic similarity of two sentences and :math:`U_{ij}` their surface similarity. Simple
rules prefer positives that share many words; dropout views, which share all of them, are the extreme case. The
propensity :math:`π` of a pair to be chosen as a positive is therefore its surface similarity, clipped to keep the
weights finite. The probability :math:`r` that it is a positive increases with its semantic similarity, and

.. math::

    π_{ij} = \min(\max(U_{ij}, c), 1 - c), \qquad r_{ij} = \frac{1}{1 + e^{-(S_{ij} - m)/t}}

    w^+_{ij} = \frac{r_{ij}}{π_{ij}}\, [S_{ij} \ge f], \qquad
    w^-_{ij} = \frac{1 - r_{ij}}{1 - π_{ij}}\, [S_{ij} < \min(C, S_{ii^+})]

An anchor ``i`` draws its positive :math:`i^+` among candidates ``j`` with probability :math:`w^+_{ij} / \sum_j
w^+_{ij}`, and then its hard negative :math:`i^-` with :math:`w^-`. The floor ``f`` excludes dissimilar sentences, and
the cap ``C`` excludes false negatives. The sentence itself is also a candidate, with :math:`S = U = 1`: if no other
sentence is similar enough, the pair is two dropout views of it, as in SimCSE. The loss is InfoNCE over the drawn
sentences,

.. math::

    L = -\frac1N \sum_i \log \frac{e^{s(z_i, z_{i^+})}}{\sum_j e^{s(z_i, z_{j^+})} + \sum_j e^{s(z_i, z_{j^-})}}

which is :func:`~smoothcse.objectives.gs_info_nce` with hard negatives.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def positive_log_weights(
    meaning: Tensor, surface: Tensor, *, midpoint: float, scale: float, clip: float, floor: float
) -> Tensor:
    """Return ``log w⁺`` of candidates, minus infinity for those below the floor.

    Args:
        meaning: ``S``, float ``(N, K)``.
        surface: ``U`` in [0, 1], ``(N, K)``.
        midpoint: ``m``.
        scale: ``t > 0``.
        clip: ``c`` in (0, 0.5).
        floor: ``f``; in each row one candidate must reach it, as the sentence itself does.
    """
    weights = functional.logsigmoid((meaning - midpoint) / scale) - surface.clamp(clip, 1 - clip).log()
    return weights.masked_fill(meaning < floor, -torch.inf)


def negative_log_weights(
    meaning: Tensor, surface: Tensor, *, midpoint: float, scale: float, clip: float, cap: Tensor
) -> Tensor:
    """Return ``log w⁻`` of candidates, minus infinity for those that reach the cap.

    If all candidates of a row reach it, the least similar ones are kept.

    Args:
        meaning: ``S``, float ``(N, K)``.
        surface: ``U`` in [0, 1], ``(N, K)``.
        midpoint: ``m``.
        scale: ``t > 0``.
        clip: ``c`` in (0, 0.5).
        cap: Cap of each row, ``(N,)``.
    """
    least = meaning.amin(dim=1, keepdim=True)
    allowed = meaning < torch.maximum(cap.unsqueeze(1), torch.nextafter(least, torch.full_like(least, torch.inf)))
    weights = functional.logsigmoid((midpoint - meaning) / scale) - torch.log1p(-surface.clamp(clip, 1 - clip))
    return weights.masked_fill(~allowed, -torch.inf)


def draw(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """Draw one candidate per row, with probability proportional to its weight.

    Args:
        log_weights: Log-weights, float ``(N, K)``, with at least one finite value per row.
        uniform: Random numbers in [0, 1), one per row, ``(N,)``.

    Returns:
        The positions, long ``(N,)``.
    """
    sums = log_weights.double().softmax(dim=1).cumsum(dim=1)
    return (sums <= uniform.unsqueeze(1) * sums[:, -1:]).sum(dim=1)
