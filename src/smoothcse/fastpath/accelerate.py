"""The context manager that turns on the fast path."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn

from smoothcse.encoders import devices
from smoothcse.encoders.precision import Resolved
from smoothcse.fastpath.attention import ATTENTIONS, patch_attention
from smoothcse.fastpath.batch import FastPath, attach, detach, fast_path_of
from smoothcse.fastpath.bf16_layers import counted_steps, patch_layers
from smoothcse.fastpath.dropout import patch_dropout
from smoothcse.fastpath.hosts import untested_hosts
from smoothcse.fastpath.patches import Patches
from smoothcse.fastpath.read_token import patch_last_layer, reads_one_token
from smoothcse.fastpath.words import patch_word_table

Part = Literal["read token", "dropout", "attention", "words", "length groups", "bf16 layers"]
"""Parts of the fast path, one file each in this package."""

PARTS: tuple[Part, ...] = get_args(Part)


@contextmanager
def accelerate(
    model: nn.Module, *, parts: Collection[Part] = PARTS, precision: Resolved = "fp32"
) -> Iterator[list[str]]:
    """Make the training steps of an encoder fast while the context is open.

    Inside the context, some modules of the model have another forward method. Weights, names, classes and
    configuration do not change, so the model can be saved at any time. A loss and its state, such as a momentum
    encoder, are also fast if they are created inside the context. The loss and its gradients equal those of the plain
    path, up to rounding (in bf16, to that of bf16) and to the elements that are dropped out.

    ============= =============================================================== ===========
    part          what it does                                                    where
    ============= =============================================================== ===========
    read token    computes only the pooled token in the last layer                all devices
    dropout       draws 16 bits per element                                       CPUs
    attention     uses the same dropout in self-attention                         CPUs
    words         looks up word embeddings once per batch                         CPUs
    length groups encodes texts of similar length together                        CPUs
    bf16 layers   keeps states in bf16 and casts weights once per step            CPUs, bf16
    ============= =============================================================== ===========

    With untested versions of the host libraries (:data:`~smoothcse.fastpath.hosts.TESTED`), the plain path is used.
    The last layer, attention and bf16 layers are fast for BERT, RoBERTa and XLM-RoBERTa only.

    Example::

        with accelerate(model):
            SentenceTransformerTrainer(model, args, dataset, loss=GSInfoNCELoss(model)).train()

    Args:
        model: Encoder to train, on its device. An accelerated encoder is not changed.
        parts: Parts to make fast; empty for the plain path. Default: all.
        precision: Precision of the steps: ``bf16`` if the trainer puts them under autocast to it. Default: ``fp32``.

    Yields:
        Warnings that say why some or all parts are not fast; usually an empty list.
    """
    if not parts or fast_path_of(model) is not None:
        yield []
        return
    untested = list(untested_hosts())
    if untested:
        yield untested
        return
    patches, state = Patches(), FastPath(bf16=precision == "bf16")
    attach(model, state)
    try:
        _patch(model, state, patches, parts)
        with counted_steps():
            yield _unknown_family(model)
    finally:
        patches.undo()
        detach(model)


def _patch(model: nn.Module, state: FastPath, patches: Patches, parts: Collection[Part]) -> None:
    if "read token" in parts:
        patch_last_layer(model, state, patches)
    if not _on_cpu(model):
        return
    if "dropout" in parts:
        patch_dropout(model, patches)
    if "attention" in parts:
        patch_attention(model, patches)
    if "words" in parts:
        patch_word_table(model, state, patches)
    if "bf16 layers" in parts and state.bf16:
        patch_layers(model, patches)
    state.length_groups = "length groups" in parts


def _on_cpu(model: nn.Module) -> bool:
    parameter = next(model.parameters(), None)
    return devices.is_cpu(torch.device("cpu") if parameter is None else parameter.device)


def _unknown_family(model: nn.Module) -> list[str]:
    encoder = next(model.children(), None)
    if not isinstance(encoder, Transformer) or any(type(module) in ATTENTIONS for module in model.modules()):
        return []
    if not (_on_cpu(model) or reads_one_token(model)):
        return []
    return [
        f"The fast path does not know models of type {encoder.model.config.model_type}: transformers computes their "
        "attention and their last layer, which takes longer and gives equally good models."
    ]
