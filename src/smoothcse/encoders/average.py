"""Weight averaging of a trained encoder with the model that its training started from."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from smoothcse.encoders.projection import strip_projection
from smoothcse.errors import SmoothCSEError


@torch.no_grad()
def average_with_start(
    trained: SentenceTransformer, start: SentenceTransformer, share: float = 0.5
) -> SentenceTransformer:
    """Return a copy of a trained model with the weights ``θ = share · θ_trained + (1 - share) · θ_start``.

    Fine-tuning loses quality elsewhere. Between the two models, most of what was gained and most of what would be lost
    can be kept (WiSE-FT: Wortsman et al., CVPR 2022).

    Args:
        trained: Trained model; its projection head, if any, is left out.
        start: Model that the training started from; its projection head, if any, is left out.
        share: Share of the trained weights, 0 to 1: 0 gives exactly the start's weights, 1 exactly the trained ones.

    Returns:
        A new model with the modules, pooling and prompts of ``trained``; both arguments stay unchanged.

    Raises:
        SmoothCSEError: The share is out of range, or the models differ in architecture.
    """
    if not 0.0 <= share <= 1.0:
        raise SmoothCSEError(f"The share of the trained weights must be between 0 and 1, not {share}.")
    trained = strip_projection(trained)
    averaged = copy.deepcopy(trained)
    trained_weights, start_weights = trained.state_dict(), strip_projection(start).state_dict()
    _require_same_architecture(trained_weights, start_weights)
    for name, weight in averaged.state_dict().items():  # a weight that is tied, such as T5's, has several names
        if weight.is_floating_point():
            weight.copy_(torch.lerp(start_weights[name].to(weight), trained_weights[name], share))
    return averaged


def _require_same_architecture(trained: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> None:
    differing = sorted(trained.keys() ^ start.keys()) or [
        name for name, weight in trained.items() if weight.shape != start[name].shape
    ]
    if not trained or differing:
        place = f"their weights differ at {differing[0]}" if differing else "they have no weights in torch"
        raise SmoothCSEError(
            f"The trained model and its start cannot be averaged: {place}. Give the model that the training started "
            "from."
        )
