r"""ArcCon, the pairwise loss of ArcCSE (Zhang et al., ACL 2022): an angle more between a sentence and its positive.

.. math::

    l_i = -\log \frac{e^{\cos(θ_{ii} + m)/τ}}{e^{\cos(θ_{ii} + m)/τ} + \sum_{j \ne i} e^{\cos θ_{ij}/τ}}, \qquad
    θ_{ij} = \arccos \frac{z1_i^\top z2_j}{\lVert z1_i \rVert \lVert z2_j \rVert}

A pair is to be nearer than all others by the margin ``m``, an angle, which leaves room for views that stray. This is
:func:`~smoothcse.objectives.info_nce` with other logits of its own pairs; at ``m = 0`` it is that loss itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def angular_margin_logits(
    anchors: Tensor, positives: Tensor, *, margin: float = 10.0, temperature: float = 0.05
) -> Tensor:
    """Return ``cos(θ_ii + m) / τ``.

    Where ``θ + m`` is over half a turn the cosine rises again; dropout views are nowhere near that.

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        positives: ``z2``, likewise.
        margin: ``m``, in degrees.
        temperature: ``τ > 0``.

    Returns:
        ``(N,)``, in float32 (float64 for float64 input) whatever autocast says.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        z1, z2 = (rows if rows.dtype == torch.float64 else rows.float() for rows in (anchors, positives))
        cosine = functional.cosine_similarity(z1, z2)
        # At equal views the angle has no slope; from a twentieth of a degree on it is held.
        sine = (1.0 - cosine.square()).clamp(min=1e-6).sqrt()
        angle = math.radians(margin)
        return (cosine * math.cos(angle) - sine * math.sin(angle)) / temperature
