"""Gaussian negatives: number, source and expectation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from smoothcse._utils.defaults import NOISE_COUNT
from smoothcse.errors import SmoothCSEError

NoiseMode = Literal["sampled", "expected"]

BLOCK_ROWS = 4096
"""Number of noise vectors per block, each drawn with its own generator."""


class NoiseSource(Protocol):
    """A source of noise vectors that returns the same vectors for the same step."""

    def draw(self, step: int, count: int, dim: int, *, device: torch.device | str = "cpu") -> Tensor:
        """Return the noise of one optimiser step, float ``(count, dim)``."""
        ...

    def draw_blocks(self, step: int, count: int, dim: int, *, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """Yield the rows of :meth:`draw`, block after block."""
        ...


@dataclass(frozen=True)
class GaussianNoise:
    """A stateless source of Gaussian vectors: ``(seed, step) -> (M, d)``.

    The vectors depend on the arguments only, so every rank, every resumed run and every accumulation micro-batch of a
    step uses the same noise, and no global random state is read or changed. They are drawn on the device that uses
    them; different device types draw different, identically distributed numbers.

    Cosine similarity ignores the length of a noise vector, so with ``mean = 0`` the standard deviation has no effect:
    ``std`` of 0.1 and 0.5 give the same loss up to rounding, and the tuned ``random_std`` of the authors' scripts
    changes nothing. Only the ratio ``mean / std`` matters, which pushes all anchors away from one direction.

    Attributes:
        seed: Seed of the run.
        mean: ``μ``, added to each component. Default 0, as published.
        std: ``σ > 0``. Default 1.

    Raises:
        SmoothCSEError: If ``std`` is not greater than 0.
    """

    seed: int = 0
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        """Check the range of ``std``."""
        if not self.std > 0:
            raise SmoothCSEError(f"noise_std must be greater than 0, not {self.std}.")

    def draw(self, step: int, count: int, dim: int, *, device: torch.device | str = "cpu") -> Tensor:
        """Return the noise of one optimiser step.

        Args:
            step: Optimiser step, from 0.
            count: ``M``, number of vectors.
            dim: ``d``, their width.
            device: Device to draw them on.

        Returns:
            float32 ``(M, d)``, without gradient.
        """
        return torch.cat([*self.draw_blocks(step, count, dim, device=device)])

    def draw_blocks(self, step: int, count: int, dim: int, *, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """Yield the rows of :meth:`draw` in blocks of up to 4,096, so that only one is in memory at a time."""
        for number, first in enumerate(range(0, max(count, 1), BLOCK_ROWS)):
            yield self._draw(step, (min(BLOCK_ROWS, count - first), dim), device, number)

    def _draw(self, step: int, shape: tuple[int, ...], device: torch.device | str, block: int) -> Tensor:
        generator = torch.Generator(device).manual_seed(self._key(step, block))
        standard = torch.randn(shape, generator=generator, device=device)
        return standard.mul_(self.std).add_(self.mean)

    def _key(self, step: int, block: int) -> int:
        # Hashed, because neighbouring integers make poor seeds for some generators, and because seed 0 at step 1
        # must not equal seed 1 at step 0. 32 bits are what the CPU generator takes in.
        name = f"{self.seed}:{step}" + f":{block}" * (block > 0)
        digest = hashlib.blake2b(name.encode(), digest_size=4).digest()
        return int.from_bytes(digest, "little")


@dataclass(frozen=True, eq=False)
class FixedNoise:
    """A source that returns the same vectors at every step.

    Attributes:
        vectors: ``g``, float ``(M, d)``.
    """

    vectors: Tensor

    def draw(self, step: int, count: int, dim: int, *, device: torch.device | str = "cpu") -> Tensor:
        """Return the vectors."""
        return self.vectors

    def draw_blocks(self, step: int, count: int, dim: int, *, device: torch.device | str = "cpu") -> Iterator[Tensor]:
        """Yield the vectors in blocks of up to 4,096 rows."""
        yield from self.vectors.split(BLOCK_ROWS)


@dataclass(frozen=True)
class Noise:
    """The Gaussian negatives of a loss.

    Attributes:
        count: ``M``, vectors per step; 0 turns the noise off. Default 192, as in the four published recipes.
        ratio: ``M`` as a multiple of the effective batch instead (published: 3, or 1.5 at batch 128).
        weight: ``λ > 0``, weight of the noise in the denominator. The authors' released code ignores its
            option for ``λ``, so their runs have ``λ = 1``.
        share: Noise share to hold by choosing ``λ`` for each anchor and step
            (:func:`~smoothcse.objectives.balance_noise`) instead of ``weight``; None (default) for a fixed ``λ``.
        mode: ``"sampled"``, or ``"expected"`` to replace the noise sum by its expectation, a constant
            ``λ M E[exp(cos / τ)]`` in the denominator (:func:`~smoothcse.objectives.log_expected_similarity`).
        source: Source of the sampled vectors.

    Raises:
        SmoothCSEError: If a value is out of range.
    """

    count: int = NOISE_COUNT
    ratio: float | None = None
    weight: float = 1.0
    share: float | None = None
    mode: NoiseMode = "sampled"
    source: NoiseSource = GaussianNoise()

    def __post_init__(self) -> None:
        """Check ranges and contradictions."""
        if not self.weight > 0:
            raise SmoothCSEError(f"noise_weight must be greater than 0, not {self.weight}.")
        if self.count < 0 or (self.ratio is not None and self.ratio < 0):
            raise SmoothCSEError("noise_count and noise_ratio must not be negative; 0 turns the noise off.")
        if self.share is not None and (not 0 < self.share < 1 or self.weight != 1.0):
            raise SmoothCSEError(
                "noise_share must lie between 0 and 1, and noise_weight, which it replaces, must be 1."
            )
        self._check_mode()

    def _check_mode(self) -> None:
        if self.mode not in get_args(NoiseMode):
            raise SmoothCSEError(f"noise_mode {self.mode!r} is unknown; choose 'sampled' or 'expected'.")
        if self.mode == "expected" and isinstance(self.source, GaussianNoise) and self.source.mean:
            raise SmoothCSEError("noise_mode 'expected' has a closed form for noise_mean 0 only; use 'sampled'.")

    def count_for(self, effective_batch: int) -> int:
        """Return ``M`` for a batch size, counted over all ranks."""
        return self.count if self.ratio is None else round(self.ratio * effective_batch)

    def columns_for(self, effective_batch: int) -> int:
        """Return the number of columns that the noise has in a matrix of logits: 1 at most in expected mode."""
        count = self.count_for(effective_batch)
        return min(count, 1) if self.mode == "expected" else count


NO_NOISE = Noise(count=0)
"""Plain InfoNCE, the control."""


def as_noise(given: Noise | Tensor | None) -> Noise:
    """Return the noise of a loss: vectors ``(M, d)`` get weight 1, None means no noise."""
    if given is None:
        return NO_NOISE
    return Noise(count=len(given), source=FixedNoise(given)) if isinstance(given, Tensor) else given


def log_expected_similarity(dim: int, temperature: float) -> float:
    r"""Logarithm of the expected ``exp(cos(z, g) / τ)`` of a fixed vector and a zero-mean Gaussian one.

    By rotation symmetry it does not depend on ``z``, so on average the noise adds a constant to the denominator
    of GS-InfoNCE. With :math:`I_ν` the modified Bessel function (the normaliser of the von Mises-Fisher density),

    .. math:: E\, e^{\cos(z, g)/τ} = Γ(d/2)\,(2τ)^{d/2-1}\, I_{d/2-1}(1/τ)
              = \sum_{k \ge 0} \frac{(1/(2τ))^{2k}}{k!\,(d/2)_k}

    The series is summed, since all of its terms are positive and do not cancel. The factors of the closed form
    overflow and underflow from a few hundred dimensions on.

    Args:
        dim: ``d >= 1``.
        temperature: ``τ >= 0.002`` (below, the sum exceeds the range of a double).

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
