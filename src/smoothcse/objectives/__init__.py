"""Loss formulas: pure functions of tensors, and their arguments."""

from __future__ import annotations

from smoothcse.objectives.contrastive import (
    Contrast,
    balance_noise,
    dense_contrast,
    gs_info_nce,
    info_nce,
    noise_share,
    own_positive_loss,
    similarity_logits,
    with_own_logits,
)
from smoothcse.objectives.keys import HardNegatives, Keys
from smoothcse.objectives.noise import (
    NO_NOISE,
    FixedNoise,
    GaussianNoise,
    Noise,
    NoiseMode,
    log_expected_similarity,
)
from smoothcse.objectives.streamed import LogSumExps, streamed_contrast, streamed_log_sum_exps

__all__ = [
    "NO_NOISE",
    "Contrast",
    "FixedNoise",
    "GaussianNoise",
    "HardNegatives",
    "Keys",
    "LogSumExps",
    "Noise",
    "NoiseMode",
    "balance_noise",
    "dense_contrast",
    "gs_info_nce",
    "info_nce",
    "log_expected_similarity",
    "noise_share",
    "own_positive_loss",
    "similarity_logits",
    "streamed_contrast",
    "streamed_log_sum_exps",
    "with_own_logits",
]
