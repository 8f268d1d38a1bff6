"""Embedding of the trainer's feature dicts; a single column of text becomes two views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn

from smoothcse.encoders import devices
from smoothcse.encoders.precision import without_autocast
from smoothcse.encoders.projection import PROJECTION
from smoothcse.encoders.prompts import prompt_of
from smoothcse.fastpath.batch import Batch, fast_path_of, running
from smoothcse.fastpath.length_groups import group_sizes
from smoothcse.fastpath.words import WORDS, look_up_words

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Features = dict[str, Any]

Reader = Callable[[nn.Module, Features], Tensor]
"""Function from the model and the features of a view to its embeddings."""

READ = "read"
"""Key in a view's features of its :data:`Reader`; without it, the reader is :func:`read`."""

# Tokens that a CPU encodes at a time, so that they stay in its cache, and the cost in tokens of one more pass over the
# weights, in fp32; twice as many in bf16. A GPU encodes the whole batch, since launching small kernels costs more than
# padding.
_CPU_TOKENS = 1600
_CPU_TOKENS_OF_A_PASS = 80
_GPU_ROWS = 1024


def embed_views(model: nn.Module, columns: list[Features]) -> list[Tensor]:
    """Embed the columns of a batch; a single column is embedded as two dropout views.

    Args:
        model: Encoder in training mode; in evaluation mode both views are equal.
        columns: Feature dict of each text column from the trainer's collator, N rows each.

    Returns:
        One ``(N, d)`` tensor per column: ``[z1, z2]`` for a single column, otherwise ``[z1, z2, z3, ...]``.
    """
    columns = look_up_words(model, columns)
    times = 1 if len(columns) > 1 else 2
    return [view for column in columns for view in _embed_times(model, column, times)]


def dropout_views(
    model: SentenceTransformer, sentences: Sequence[str], *, max_length: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Embed sentences twice under dropout, without changing the global random state or the model's mode.

    Args:
        model: Encoder. Its ``sentence_embedding`` is read, not its training head.
        sentences: Sentences, n >= 1.
        max_length: Maximum tokens per sentence; None for the model's own limit.
        seed: Seed of the dropout.

    Returns:
        Two tensors, float32 ``(n, d)``, without gradient, on the model's device.
    """
    was_training = model.training
    model.train()
    views = []
    with (
        torch.no_grad(),
        without_autocast(model),
        torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []),
    ):
        torch.manual_seed(seed)
        for first in range(0, len(sentences), 64):
            texts = list(sentences[first : first + 64])
            batch = model.preprocess(texts, prompt=prompt_of(model), max_length=max_length)
            features = batch_to_device(batch, model.device)
            views.append(_embed_times(model, {**features, READ: _read_shipped}, 2))
    model.train(was_training)
    firsts, seconds = zip(*views, strict=True)
    return torch.cat(firsts).float(), torch.cat(seconds).float()


def embed(model: nn.Module, features: Features) -> Tensor:
    """Embed the features of a view with their reader ``READ``; the default is :func:`read`."""
    features = dict(features)
    reader: Reader = features.pop(READ, read)
    return reader(model, features)


def read(model: nn.Module, features: Features) -> Tensor:
    """Return the output of the training head, or the sentence embedding if the model has no head."""
    output = run(model, features)
    return output[PROJECTION] if PROJECTION in output else output["sentence_embedding"]  # type: ignore[no-any-return]


def run(model: nn.Module, features: Features, *, every_token: bool = False) -> Features:
    """Return all outputs of an encoder.

    Args:
        model: Encoder, accelerated or not.
        features: Features of a view, for an accelerated encoder optionally with word embeddings.
        every_token: Whether the states of all tokens are needed. If not, an encoder with single-token pooling may
            compute that token only.
    """
    features = dict(features)
    words, ids = features.pop(WORDS, None), features.get("input_ids")
    # call the model's own forward, which the trainer has put under autocast
    with running(model, None if ids is None else Batch(ids, words, every_token)):
        return model(features)  # type: ignore[no-any-return]


def _read_shipped(model: nn.Module, features: Features) -> Tensor:
    embeddings: Tensor = run(model, features)["sentence_embedding"]
    return embeddings[:, : getattr(model, "truncate_dim", None)]  # as the host's ``encode`` returns them


def read_without_dropout(model: nn.Module, features: Features) -> Tensor:
    """Return the result of :func:`read` in evaluation mode, with gradients."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        return read(model, features)
    finally:
        for module, training in modes:  # a wrapper for several ranks may be in another mode than its module
            module.training = training


def repeat_rows(features: Features, times: int = 2) -> Features:
    """Return the features with all N rows repeated ``times`` times, one block after the other."""
    return {
        key: torch.cat([value] * times) if isinstance(value, Tensor) and value.ndim else value
        for key, value in features.items()
    }


def _embed_times(model: nn.Module, column: Features, times: int) -> list[Tensor]:
    """Embed a column ``times`` times, each with its own dropout."""
    if "cu_seq_lens_q" in column:  # packed rows form one long row, which cat cannot repeat
        return [embed(model, column) for _ in range(times)]
    if "attention_mask" in column and _in_groups(model, column["attention_mask"].device):
        return _embed_in_groups(model, column, times)
    return list(embed(model, repeat_rows(column, times)).chunk(times))


def _in_groups(model: nn.Module, device: torch.device) -> bool:
    state = fast_path_of(model)
    return state is not None and state.length_groups and devices.is_cpu(device)


def _embed_in_groups(model: nn.Module, column: Features, times: int) -> list[Tensor]:
    """Embed groups of rows in the order of length, and restore the order of the rows.

    Rows do not interact inside an encoder, so the grouping changes neither the embeddings nor the loss.
    """
    state = fast_path_of(model)
    order, sizes = _groups_by_length(column, times, scale=2 if state is not None and state.bf16 else 1)
    groups = (take_rows(column, index) for index in order.split(sizes))
    views = [embed(model, repeat_rows(group, times)).chunk(times) for group in groups]
    back = order.argsort()
    return [torch.cat(parts)[back] for parts in zip(*views, strict=True)]


def in_pieces(encode: Callable[[Features], Tensor], column: Features) -> Tensor:
    """Apply a function to a column piece by piece, so that only the activations of one piece are held.

    Args:
        encode: Function from the features of some rows to one vector per row, without gradients.
        column: Features of N rows.
    """
    order, sizes = _groups_by_length(column)
    return torch.cat([encode(take_rows(column, index)) for index in order.split(sizes)])[order.argsort()]


def _groups_by_length(column: Features, times: int = 1, scale: int = 1) -> tuple[Tensor, int | list[int]]:
    """Return the rows of a column in the order of length, and the number of rows to encode together.

    Args:
        column: Features of the rows.
        times: Times that each row is encoded.
        scale: Factor of the tokens to encode together.
    """
    lengths, order = column["attention_mask"].sum(dim=1).sort(stable=True)
    if not devices.is_cpu(order.device):
        return order, _GPU_ROWS
    most, overhead = (scale * tokens // times for tokens in (_CPU_TOKENS, _CPU_TOKENS_OF_A_PASS))
    return order, group_sizes(lengths.clamp(min=1).tolist(), most, overhead)


def take_rows(column: Features, index: Tensor) -> Features:
    """Return the features of some rows, padded to the longest of them."""
    rows, width = column["attention_mask"].shape
    places = column["attention_mask"][index].any(dim=0).nonzero()
    used = int(places[-1]) + 1 if len(places) else 1  # 1 if the tokenizer gives no tokens
    taken = {}
    for key, value in column.items():
        if isinstance(value, Tensor) and value.ndim and len(value) == rows:
            value = value[index]
            value = value[:, :used] if value.ndim > 1 and value.shape[1] == width else value
        taken[key] = value
    return taken
