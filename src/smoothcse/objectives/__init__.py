"""Formulas: pure functions of tensors that import torch alone."""

from __future__ import annotations

from smoothcse.objectives.contrastive import (
    balance_noise,
    gs_info_nce,
    info_nce,
    noise_share,
    own_positive_loss,
    similarity_logits,
    with_own_logits,
)
from smoothcse.objectives.noise import GaussianNoise, log_expected_similarity
from smoothcse.objectives.streamed import Masses, streamed_masses

__all__ = [
    "GaussianNoise",
    "Masses",
    "balance_noise",
    "gs_info_nce",
    "info_nce",
    "log_expected_similarity",
    "noise_share",
    "own_positive_loss",
    "similarity_logits",
    "streamed_masses",
    "with_own_logits",
]
