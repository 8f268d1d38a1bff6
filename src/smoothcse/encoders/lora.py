"""Low-rank adapters (LoRA: Hu et al., ICLR 2022), trained by peft in place of the transformer's weights.

A linear layer ``W x`` becomes ``W x + (α / r) B A x`` with frozen ``W``, ``A`` of shape ``(r, in)`` and ``B`` of shape
``(out, r)``. ``B`` starts at 0, so that training starts exactly at the encoder.
"""

from __future__ import annotations

import copy
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from smoothcse._utils.extras import require
from smoothcse.encoders.assemble import assemble
from smoothcse.encoders.lora_settings import LoRA
from smoothcse.errors import SmoothCSEError, first_line

_ADAPTERS = "adapter_model.safetensors"
_NAME = "default"
_EXTRA = "lora"
_UNREAD = r"(.*\.)?pooler\..*"  # pooling reads the raw states, so adapters there would never receive a gradient


def add_lora(model: SentenceTransformer, lora: LoRA, name: str, *, seed: int) -> None:
    """Freeze the transformer of an encoder and add adapters to it; other modules stay trainable.

    Args:
        model: Encoder to train.
        lora: Settings of the adapters.
        name: Name of the model in messages.
        seed: Seed of the initial ``A``.

    Raises:
        SmoothCSEError: If peft is not installed, the encoder is not a transformer, or it has no such layers.
    """
    peft = require("peft", _EXTRA, "LoRA")
    if not model.has_peft_compatible_model():
        raise SmoothCSEError(
            f"LoRA needs a transformer, and {name} starts with a {type(model[0]).__name__}; leave out lora_rank."
        )
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.scale,
        lora_dropout=lora.dropout,
        target_modules="all-linear" if lora.targets is None else list(lora.targets),
        exclude_modules=_UNREAD
        if any(re.fullmatch(_UNREAD, path) for path, _ in model[0].model.named_modules())
        else None,
    )
    device = model.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        try:
            model.add_adapter(settings)
        except ValueError as error:
            raise SmoothCSEError(
                f"lora_targets names layers that {name} does not have or that cannot have adapters; leave it out for "
                f"all linear layers ({first_line(error)})"
            ) from error
    base = settings.base_model_name_or_path
    if base and os.path.isdir(base):  # so that the adapters load from any working directory
        settings.base_model_name_or_path = os.path.abspath(base)


def has_adapters(model: SentenceTransformer) -> bool:
    """Return whether an encoder has adapters."""
    return bool(getattr(getattr(model[0], "model", None), "peft_config", None))


def merged(model: SentenceTransformer) -> SentenceTransformer:
    """Return a model whose adapters are merged into its weights: ``W + (α / r) B A``.

    Args:
        model: Encoder, which is not changed.

    Returns:
        Model with a copy of the transformer, which shares the tokenizer and the other modules; the encoder itself if
        it has no adapters.
    """
    if not has_adapters(model):
        return model
    from peft.tuners.tuners_utils import BaseTunerLayer

    encoder: Any = model[0]
    changed = assemble([copy.deepcopy(encoder, {id(encoder.processor): encoder.processor}), *list(model)[1:]], model)
    transformer = changed[0].model
    for name, layer in [(name, layer) for name, layer in transformer.named_modules()]:
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            transformer.set_submodule(name, layer.get_base_layer())
    changed.delete_adapter(_NAME)
    return changed


def restore_adapters(model: SentenceTransformer, checkpoint: Path) -> None:
    """Restore adapters and the other modules from a folder that the host saved, without reading the frozen weights.

    Loading the folder as a model would round the adapters to the precision of the start model's file.

    Args:
        model: Encoder with adapters.
        checkpoint: Folder of the same encoder after some steps.
    """
    peft = require("peft", _EXTRA, "LoRA")
    peft.set_peft_model_state_dict(model[0].model, load_file(checkpoint / _ADAPTERS), adapter_name=_NAME)
    entries = json.loads((checkpoint / "modules.json").read_text(encoding="utf-8"))
    for entry, module in zip(entries[1:], list(model)[1:], strict=True):
        file = checkpoint / entry["path"] / "model.safetensors"
        if file.is_file():
            module.load_state_dict(load_file(file))
