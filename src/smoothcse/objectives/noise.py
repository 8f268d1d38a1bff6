"""The Gaussian negatives: where they come from, and what they amount to on average."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK_ROWS = 4096
"""Noise vectors that are drawn with a generator of their own."""


@dataclass(frozen=True)
class GaussianNoise:
    """A stateless source of Gaussian vectors: ``(seed, step) -> (M, d)``.

    The rows depend on the arguments alone, so every rank, every resumed run and every accumulation micro-batch of
    a step sees the same noise, and no global random state is read or moved. They are drawn on the device that
    uses them; different kinds of device draw different (equally distributed) numbers.

    Under cosine similarity the length of a noise vector is divided out, so with ``mean = 0`` the standard
    deviation *cannot* matter: ``std`` of 0.1 and of 0.5 give the same loss up to rounding, and the "tuned"
    ``random_std`` of the authors' scripts has no effect. Only the ratio ``mean / std`` acts, by pushing all
    anchors away from one direction.

    Attributes:
        seed: of the run.
        mean: ``μ``, added to each component. Default 0, as published.
        std: ``σ > 0``. Default 1.
    """

    seed: int = 0
    mean: float = 0.0
    std: float = 1.0

    def draw(self, step: int, count: int, dim: int, *, device: torch.device | str = "cpu") -> Tensor:
        """Return the noise of one optimiser step.

        Args:
            step: of the optimiser, from 0.
            count: ``M``, number of vectors.
            dim: ``d``, their width.
            device: where to draw them.

        Returns:
            float32 ``(M, d)``, without gradient.
        """
        return torch.cat([*self.draw_blocks(step, count, dim, device=device)])

    def draw_blocks(self, step: int, count: int, dim: int, *, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """Yield the rows of :meth:`draw` in blocks of up to 4,096, of which only one need be held at a time."""
        for number, first in enumerate(range(0, max(count, 1), BLOCK_ROWS)):
            yield self._draw(step, (min(BLOCK_ROWS, count - first), dim), device, number)

    def draw_per_anchor(
        self, step: int, anchors: int, count: int, dim: int, *, first: int = 0, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Return other noise for each anchor, float32 ``(N, M, d)``: an experiment, not the paper's method.

        Args:
            step: of the optimiser, from 0.
            anchors: ``N`` of this rank.
            count: ``M`` for each of them.
            dim: ``d``.
            first: anchors of the ranks before this one, whose noise is drawn and passed over.
            device: where to draw.
        """
        return self._draw(step, (first + anchors, count, dim), device)[first:]

    def _draw(self, step: int, shape: tuple[int, ...], device: torch.device | str, block: int = 0) -> Tensor:
        generator = torch.Generator(device).manual_seed(self._key(step, block))
        standard = torch.randn(shape, generator=generator, device=device)
        return standard.mul_(self.std).add_(self.mean)

    def _key(self, step: int, block: int) -> int:
        # Hashed, because neighbouring integers make poor seeds for some generators, and because seed 0 at step 1
        # must not equal seed 1 at step 0. 32 bits are what the CPU generator takes in.
        name = f"{self.seed}:{step}" + f":{block}" * (block > 0)
        digest = hashlib.blake2b(name.encode(), digest_size=4).digest()
        return int.from_bytes(digest, "little")


def log_expected_similarity(dim: int, temperature: float) -> float:
    r"""Logarithm of the expected ``exp(cos(z, g) / τ)`` of a fixed vector and a zero-mean Gaussian one.

    By rotation symmetry it does not depend on ``z``, so on average the noise adds a constant to the denominator
    of GS-InfoNCE. With :math:`I_ν` the modified Bessel function (the normaliser of the von Mises-Fisher density),

    .. math:: E\, e^{\cos(z, g)/τ} = Γ(d/2)\,(2τ)^{d/2-1}\, I_{d/2-1}(1/τ)
              = \sum_{k \ge 0} \frac{(1/(2τ))^{2k}}{k!\,(d/2)_k}

    The series is what is summed: all its terms are positive, so nothing cancels, and neither factor of the
    closed form, which over- and underflow from a few hundred dimensions on, is ever formed.

    Args:
        dim: ``d >= 1``.
        temperature: ``τ >= 0.002`` (below, the sum leaves the range of a double).

    Returns:
        The natural logarithm, e.g. ``log 1.297`` at ``d = 768`` and ``τ = 0.05``.
    """
    x = 1.0 / (4.0 * temperature * temperature)
    term = total = 1.0
    k = 0
    while term > total * 1e-17:
        term *= x / ((k + 1) * (dim / 2 + k))
        total += term
        k += 1
    return math.log(total)
