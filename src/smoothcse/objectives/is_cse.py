r"""IS-CSE (He et al., AAAI 2023): positives smoothed over their nearest neighbours in a buffer.

.. math::

    G_i = \{\hat{z}2_i\} \cup \mathrm{kNN}(\hat{z}2_i, B), \qquad
    a_{ik} = \mathrm{softmax}_k\, \frac{\langle \hat{z}2_i, G_{ik} \rangle}{β}, \qquad
    z^*_i = \sum_k a_{ik} G_{ik}

    L = L_{cl} + α\, L_{smooth}, \qquad
    L_{smooth} = -\frac1N \sum_i \log \frac{e^{s(z1_i, z^*_i)}}{\sum_j e^{s(z1_i, z^*_j)}}

``B`` holds the last 1,024 positives as unit vectors, including those of this step, and ``β = 2``. ``L_smooth`` is
:func:`~smoothcse.objectives.info_nce` with ``z*`` as positives.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from smoothcse.objectives.rows import unit_rows


def smoothed_positives(positives: Tensor, memory: Tensor, *, neighbours: int = 16, temperature: float = 2.0) -> Tensor:
    """Return ``z*``, each positive averaged with its nearest neighbours.

    Only the positive itself has a gradient, as the query and as one of the averaged vectors.

    Args:
        positives: ``z2``, float ``(N, d)``; need not be normalised.
        memory: ``B``, unit rows ``(K, d)``, including the positives. The nearest row is the positive itself and is
            skipped.
        neighbours: Number of nearest rows to average, at most ``K - 1``.
        temperature: ``β > 0`` of the softmax.

    Returns:
        ``(N, d)``, in float32 (float64 for float64 input) regardless of autocast.
    """
    with torch.autocast(positives.device.type, enabled=False):
        unit = unit_rows(positives)
        memory = memory.to(unit)
        nearest = (unit.detach() @ memory.T).topk(min(neighbours + 1, len(memory)), dim=1).indices[:, 1:]
        group = torch.cat([unit.unsqueeze(1), memory[nearest]], dim=1)
        weights = torch.einsum("nd,nkd->nk", unit, group).div(temperature).softmax(dim=1)
        return torch.einsum("nk,nkd->nd", weights, group)


def smoothing_weight(progress: float, start: float, end: float) -> float:
    r"""Return ``α`` at a fraction of the training: it rises along a cosine over the first half and is then constant.

    .. math:: α(t) = \min\bigl(end,\; \cos(π t) (start - end) + end\bigr)

    Args:
        progress: ``t`` in [0, 1].
        start: ``α`` at the beginning.
        end: ``α`` from the middle on; equal to ``start`` for a constant.
    """
    return min(end, math.cos(math.pi * progress) * (start - end) + end)
