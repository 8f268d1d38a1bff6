r"""SNCSE (Wang et al., 2022, arXiv 2201.05979): a negation is similar, but less than a positive.

.. math::

    L = L_{cl}(z1, z2) + λ \frac1N \sum_i \bigl[\max(0, D_i + α) + \max(0, -D_i - β)\bigr], \qquad
    D_i = \cos(z1_i, z3_i) - \cos(z1_i, z2_i)

``z1`` and ``z2`` embed a sentence in two templates, ``z3`` its negation, a *soft negative*: the second term keeps
``D`` between ``-β`` and ``-α``, and ``z3`` is in no denominator.
``L_cl`` is :func:`~smoothcse.objectives.info_nce`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from smoothcse.objectives.rows import at_least_float32


def bidirectional_margin(
    anchors: Tensor, positives: Tensor, soft_negatives: Tensor, *, nearest: float = 0.1, farthest: float = 0.3
) -> Tensor:
    """Return the second term without ``λ``.

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        positives: ``z2``, of the same shape.
        soft_negatives: ``z3``, of the same shape.
        nearest: ``α``, smallest difference between the similarities of the positive and of the negation.
        farthest: ``β``, largest such difference.

    Returns:
        A scalar, in float32 (float64 for float64 input) regardless of autocast.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        z1, z2, z3 = (at_least_float32(rows) for rows in (anchors, positives, soft_negatives))
        difference = functional.cosine_similarity(z1, z3) - functional.cosine_similarity(z1, z2)
        return (functional.relu(difference + nearest) + functional.relu(-difference - farthest)).mean()
