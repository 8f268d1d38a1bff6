r"""A loss whose gradient has a given ratio of pull to push (Li, Zhang and Nie, ACL 2024, arXiv 2402.18281).

The gradient of a contrastive loss with respect to an anchor is

.. math:: \frac{∂l_i}{∂z1_i} ∝ GD_i \sum_j W_{ij} (z2_j - r\, z2_i)

``GD`` (gradient dissipation) says how much is learned from the anchor, ``W`` from which of its negatives, and ``r`` is
the ratio of the pull of the positive to the push of the negatives. InfoNCE has ``r = 1``. Here ``r`` is set, while
``GD`` and ``W`` stay those of the loss, or ``GD`` is 1 for the anchors within a margin and 0 for the others.
"""

from __future__ import annotations

from torch import Tensor


def with_ratio(losses: Tensor, own: Tensor, negatives: Tensor, dissipation: Tensor, ratio: float) -> Tensor:
    """Return the losses, ``(N,)``, with the gradient of ``GD_i (log N_i - r s_i)``.

    Args:
        losses: Loss of each anchor, whose value is kept and whose gradient is dropped.
        own: ``s_i``, logit of each anchor's own positive, ``(N,)``.
        negatives: ``log N_i``, log-sum-exp of its negatives, whose gradient has the weights ``W``.
        dissipation: ``GD_i``, without gradient.
        ratio: ``r > 0``.
    """
    steered = dissipation.detach() * (negatives - ratio * own)
    return losses.detach() + (steered - steered.detach())


def within_margin(own: Tensor, hardest: Tensor, hinge: float, temperature: float) -> Tensor:
    """Return the published dissipation: 1 where the positive leads by less than the margin, otherwise 0.

    Args:
        own: Logit of each anchor's own positive, ``(N,)``.
        hardest: Largest logit of its in-batch negatives, ``(N,)``; ``-inf`` without any, which is within no margin.
        hinge: Margin as a cosine; published: mostly 0.3.
        temperature: ``τ`` of the logits.
    """
    return ((own - hardest).detach() < hinge / temperature).to(own.dtype)
