r"""The adaptive temperature of MACL (Huang et al., ICML 2023, arXiv 2207.07874).

.. math:: τ_a = τ\,(1 + α A), \qquad A = \frac1N \sum_i \cos(z1_i, z2_i)

The better a batch is aligned, the higher its temperature, which then tolerates similar negatives. ``A`` has no
gradient. The paper subtracts a threshold ``A_0`` from ``A``; that is the same rule with other values of ``τ`` and
``α``.

The paper also divides the loss of each anchor by its gradient dissipation, one minus the probability of the positive.
The gradient of the result is that of the decoupled loss, which this package has as an option of its own.
"""

from __future__ import annotations

from torch import Tensor

_LOWEST_FACTOR = 0.1
"""Lower limit of ``1 + α A``, so that the temperature stays positive where views point away from each other."""


def adaptive_temperature(cosines: Tensor, temperature: float, gain: float) -> float:
    """Return ``τ_a``.

    Args:
        cosines: Cosine of each positive pair of the batch, ``(N,)``.
        temperature: ``τ``.
        gain: ``α``.
    """
    return temperature * max(1.0 + gain * float(cosines.detach().mean()), _LOWEST_FACTOR)
