"""The training head of an encoder, and the modules before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sentence_transformers.sentence_transformer.modules import Normalize
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from smoothcse.encoders.build import is_projection

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


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
