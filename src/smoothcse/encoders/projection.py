"""The projection head: trained with the encoder, removed before the model is used.

The head is the host's ``Dense`` module. It writes a feature of its own and leaves ``sentence_embedding`` unchanged.
"""

from __future__ import annotations

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from smoothcse.encoders.assemble import assemble

PROJECTION = "projection"
"""Name of the head's output among the features that a model's forward pass returns."""


def with_projection(modules: list[nn.Module], seed: int) -> list[nn.Module]:
    """Insert SimCSE's training head, ``tanh(W h + b)`` with ``W ~ N(0, 0.02²)`` and ``b = 0``, after the pooling.

    The head precedes a normalisation, so that it reads the vector before it is scaled.

    Args:
        modules: Modules of an encoder.
        seed: Seed of the initial weights.
    """
    sized = (module for module in reversed(modules) if isinstance(module, Dense | Pooling | Transformer))
    width: int = next(sized).get_embedding_dimension()
    generator = torch.Generator().manual_seed(seed)
    head = Dense(
        width,
        width,
        activation_function=nn.Tanh(),
        init_weight=torch.empty(width, width).normal_(0.0, 0.02, generator=generator),
        init_bias=torch.zeros(width),
        module_output_name=PROJECTION,
    )
    tail = [module for module in modules if isinstance(module, Normalize)]
    return [*(module for module in modules if not isinstance(module, Normalize)), head, *tail]


def is_projection(module: nn.Module) -> bool:
    """Return whether a module of an encoder is its projection head."""
    return isinstance(module, Dense) and module.module_output_name == PROJECTION


def strip_projection(model: SentenceTransformer) -> SentenceTransformer:
    """Return the model without its projection head; the remaining modules are shared, not copied.

    The embeddings that ``encode`` returns stay bit for bit the same, since the head only adds a feature.

    Args:
        model: Encoder with or without a projection head.
    """
    stripped = assemble([module for module in model if not is_projection(module)], model)
    stripped.truncate_dim = model.truncate_dim
    return stripped


def unwrapped(model: nn.Module) -> SentenceTransformer:
    """Return an encoder without the wrapper that several devices need."""
    inner: SentenceTransformer = model.module if isinstance(model, DistributedDataParallel) else model
    return inner


def head_of(model: nn.Module) -> nn.Module | None:
    """Return the training head of an encoder, or None if it has none."""
    return next((module for module in unwrapped(model) if is_projection(module)), None)


def body_of(model: nn.Module) -> list[nn.Module]:
    """Return the modules that compute the raw sentence embedding: those before the head and the normalisation."""
    return [module for module in unwrapped(model) if not (is_projection(module) or isinstance(module, Normalize))]
