"""Training of the last transformer layers only."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from torch import nn

from smoothcse.encoders.layers import layers_of
from smoothcse.errors import SmoothCSEError


def train_last_layers(model: SentenceTransformer, count: int, name: str) -> None:
    """Freeze the embeddings and all layers but the last; what comes after the layers stays trainable.

    Args:
        model: Encoder to train.
        count: Number of layers to train, at least 1.
        name: Name of the model in messages.

    Raises:
        SmoothCSEError: The model has fewer layers, or its layers cannot be found.
    """
    layers = layers_of(model, name, "train_layers")
    if not 1 <= count <= len(layers):
        raise SmoothCSEError(
            f"train_layers is {count}, but {name} has {len(layers)} layers; give a number from 1 to {len(layers)}."
        )
    trained = {parameter for layer in layers[-count:] for parameter in layer.parameters()}
    for module in _called_after(model, layers[-1]):
        trained.update(module.parameters(recurse=False))
    for parameter in model[0].parameters():
        if parameter not in trained:
            parameter.requires_grad_(False)


def _called_after(model: SentenceTransformer, layer: nn.Module) -> list[nn.Module]:
    """Return the modules of the transformer that run after a layer only, such as a final normalisation."""
    calls: list[nn.Module] = []
    features = batch_to_device(model.preprocess(["text"]), model.device)
    was_training = model.training
    model.eval()
    with ExitStack() as hooks, torch.no_grad():
        for module in model[0].modules():
            hooks.enter_context(module.register_forward_pre_hook(lambda called, _: calls.append(called)))
        model[0](features)
    model.train(was_training)
    last = calls.index(layer)
    before = set(calls[:last])
    return [module for module in calls[last + 1 :] if module not in before]
