r"""DebCSE, our reading of the abstract (Miao, Du, Zhang; CIKM 2023): pairs drawn by inverse propensity.

The abstract says that both positives and negatives are sampled by inverse propensity weights made of surface and
semantic similarity, so as to undo the biases of simple rules for building pairs. It gives no formulas and there is no
code. What follows is ours.

Let :math:`S_{ij}` be the similarity of two sentences in meaning and :math:`U_{ij}` that of their surface. Simple rules
take a pair for a positive the more readily the more words it shares, dropout views being the extreme that shares all.
So the propensity :math:`π` of a pair to be called positive is its surface similarity, clipped to keep the weights
finite, while the chance :math:`r` that it is one rises with its meaning, and

.. math::

    π_{ij} = \min(\max(U_{ij}, c), 1 - c), \qquad r_{ij} = \frac{1}{1 + e^{-(S_{ij} - m)/t}}

    w^+_{ij} = \frac{r_{ij}}{π_{ij}}\, [S_{ij} \ge f], \qquad
    w^-_{ij} = \frac{1 - r_{ij}}{1 - π_{ij}}\, [S_{ij} < \min(C, S_{ii^+})]

An anchor ``i`` draws its positive :math:`i^+` among candidates ``j`` with probability
:math:`w^+_{ij} / \sum_j w^+_{ij}`, and then its hard negative :math:`i^-` with :math:`w^-`. The floor ``f`` keeps out
what is near by no measure, the cap ``C`` false negatives. The sentence itself is a candidate, too, with
:math:`S = U = 1`: where nothing else is near enough, two dropout views of it are the pair, as in SimCSE. The loss is
InfoNCE over what was drawn,

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

    Where all of a row do, its least similar candidates are let through.

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
    """Draw one candidate of each row, with probability in proportion to its weight.

    Args:
        log_weights: Float ``(N, K)``, at least one of a row finite.
        uniform: A number in [0, 1) for each row, ``(N,)``, which decides.

    Returns:
        The positions, long ``(N,)``.
    """
    sums = log_weights.double().softmax(dim=1).cumsum(dim=1)
    return (sums <= uniform.unsqueeze(1) * sums[:, -1:]).sum(dim=1)
