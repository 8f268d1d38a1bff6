"""Gradient checkpointing: recompute the activations of each layer in the backward pass (Chen et al., 2016).

Only the input of each transformer layer is kept. The layer runs a second time, with the same dropout, when its
gradient is due: one more forward pass a step.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sentence_transformers import SentenceTransformer

from smoothcse.errors import SmoothCSEError


def checkpoint_gradients(model: SentenceTransformer, name: str) -> None:
    """Recompute the activations of the transformer layers of an encoder in each backward pass.

    Values and gradients do not change: the recomputation restores the random state of the first pass.

    Args:
        model: Encoder to train.
        name: Name of the model in messages.

    Raises:
        SmoothCSEError: If the class of the encoder does not support it.
    """
    transformer: Any = getattr(model[0], "model", model[0])
    if not getattr(transformer, "supports_gradient_checkpointing", False):
        raise SmoothCSEError(
            f"gradient_checkpointing is not supported by {type(transformer).__name__}, the class of {name}; leave it "
            "out, or bound the memory with mini_batch instead."
        )
    model.gradient_checkpointing_enable({"use_reentrant": False})
    # The host makes the word embeddings require gradients, which only reentrant checkpoints need. With frozen layers
    # or adapters the gradient would pass through layers that learn nothing.
    with suppress(AttributeError):  # early 5.x has no hook to remove here
        transformer.disable_input_require_grads()
