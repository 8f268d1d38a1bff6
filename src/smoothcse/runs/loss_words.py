"""The options of the objective in words, for the start card and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smoothcse.runs.config import TrainConfig

_KEYS = {"positives": "gradient at each anchor's own key only", "none": "no gradient at the keys"}


def describe_loss(config: TrainConfig) -> str:
    """Return what differs from InfoNCE in one direction, besides the noise; empty if nothing does."""
    numbers = {
        "pull-to-push ratio": config.ratio,
        "hinge": config.hinge,
        "margin": config.margin or None,
        "debiased with prior": config.positive_prior,
        "adaptive temperature with α": config.adaptive_temperature,
        "negatives masked above cosine": config.false_negative_threshold,
    }
    words = [
        "the mean of both directions" if config.symmetric else "",
        *(f"{name} {value:g}" for name, value in numbers.items() if value is not None),
        "decoupled" if config.decoupled else "",
        _KEYS.get(config.key_gradient, ""),
    ]
    return ", ".join(word for word in words if word)
