"""Defaults that several rooms share."""

from __future__ import annotations

NOISE_COUNT = 192
"""M, the Gaussian negatives per step, as in the four published recipes of GS-InfoNCE."""
