r"""ArcCon, the pairwise loss of ArcCSE (Zhang et al., ACL 2022): InfoNCE with an angular margin for the pairs.

.. math::

    l_i = -\log \frac{e^{\cos(θ_{ii} + m)/τ}}{e^{\cos(θ_{ii} + m)/τ} + \sum_{j \ne i} e^{\cos θ_{ij}/τ}}, \qquad
    θ_{ij} = \arccos \frac{z1_i^\top z2_j}{\lVert z1_i \rVert \lVert z2_j \rVert}

A positive pair must be closer than all other pairs by the angular margin ``m``, which tolerates views that differ.
This is :func:`~smoothcse.objectives.info_nce` with the logits of the positive pairs replaced; at ``m = 0`` the two are
equal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from smoothcse.objectives.rows import at_least_float32


def angular_margin_logits(
    anchors: Tensor, positives: Tensor, *, margin: float = 10.0, temperature: float = 0.05
) -> Tensor:
    """Return ``cos(θ_ii + m) / τ``.

    The cosine rises again where ``θ + m`` exceeds 180 degrees; dropout views are far from that.

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        positives: ``z2``, of the same shape.
        margin: ``m``, in degrees.
        temperature: ``τ > 0``.

    Returns:
        ``(N,)``, in float32 (float64 for float64 input) regardless of autocast.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        z1, z2 = at_least_float32(anchors), at_least_float32(positives)
        cosine = functional.cosine_similarity(z1, z2)
        # The angle has no gradient at equal views, so the sine is clamped (below about a twentieth of a degree).
        sine = (1.0 - cosine.square()).clamp(min=1e-6).sqrt()
        angle = math.radians(margin)
        return (cosine * math.cos(angle) - sine * math.sin(angle)) / temperature
