"""Loss formulas: pure functions of tensors, and their arguments."""

from __future__ import annotations

from smoothcse.objectives.contrastive import (
    dense_contrast,
    gs_info_nce,
    info_nce,
    own_positive_loss,
    similarity_logits,
    with_own_logits,
)
from smoothcse.objectives.false_negatives import FalseNegatives
from smoothcse.objectives.held_share import balance_noise, noise_share
from smoothcse.objectives.keys import HardNegatives, Keys
from smoothcse.objectives.log_sum_exps import LogSumExps
from smoothcse.objectives.loss_form import INFO_NCE, Contrast, KeyGradient, LossForm
from smoothcse.objectives.noise import (
    NO_NOISE,
    FixedNoise,
    GaussianNoise,
    Noise,
    NoiseMode,
    log_expected_similarity,
)
from smoothcse.objectives.streamed import streamed_contrast, streamed_log_sum_exps

__all__ = [
    "INFO_NCE",
    "NO_NOISE",
    "Contrast",
    "FalseNegatives",
    "FixedNoise",
    "GaussianNoise",
    "HardNegatives",
    "KeyGradient",
    "Keys",
    "LogSumExps",
    "LossForm",
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
