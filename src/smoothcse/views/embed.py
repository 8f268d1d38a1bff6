"""From the trainer's feature dicts to embeddings: how one column of text becomes two views."""

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
"""How a view becomes an embedding."""

READ = "read"
"""Entry of a view's features that holds its :data:`Reader`, where it is not :func:`read`."""

# Tokens that a CPU encodes at a time, which stay in its cache, and those that one more pass over the weights costs.
# A GPU wants the whole batch, as its small kernels cost their launch more than their padding.
_CPU_TOKENS = 1600
_CPU_TOKENS_OF_A_PASS = 80
_GPU_ROWS = 1024


def embed_views(model: nn.Module, columns: list[Features]) -> list[Tensor]:
    """Embed the columns of a batch, a single column as two dropout views of itself.

    Args:
        model: the encoder; in training mode, or both views are the same.
        columns: one feature dict per text column, as the host's collator makes them, of N rows each.

    Returns:
        One ``(N, d)`` tensor per column: ``[z1, z2]`` for a single column, else ``[z1, z2, z3, ...]``.
    """
    columns = look_up_words(model, columns)
    times = 1 if len(columns) > 1 else 2
    return [view for column in columns for view in _embed_times(model, column, times)]


def dropout_views(
    model: SentenceTransformer, sentences: Sequence[str], *, max_length: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Embed sentences twice under dropout, leaving the global random state and the model's mode as they were.

    Args:
        model: any sentence-transformers model; its ``sentence_embedding`` is read, not a training head.
        sentences: n strings, at least one.
        max_length: tokens per sentence; None for the model's own limit.
        seed: of the dropout.

    Returns:
        Two float32 ``(n, d)`` without gradient, on the model's device.
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
    """Return what the loss reads, as the entry ``READ`` of the features says, else as :func:`read` does."""
    features = dict(features)
    reader: Reader = features.pop(READ, read)
    return reader(model, features)


def read(model: nn.Module, features: Features) -> Tensor:
    """Return the training head's output, or the sentence embedding of a model without one."""
    output = run(model, features)
    return output[PROJECTION] if PROJECTION in output else output["sentence_embedding"]  # type: ignore[no-any-return]


def run(model: nn.Module, features: Features, *, every_token: bool = False) -> Features:
    """Return all that an encoder makes of features.

    Args:
        model: Encoder, accelerated or not.
        features: Features of a view, for an accelerated encoder with their word embeddings or without.
        every_token: Whether the states of all tokens are read; else one that is read at a single token may compute
            that one alone.
    """
    features = dict(features)
    words, ids = features.pop(WORDS, None), features.get("input_ids")
    # always by the model's own forward: it is there that the trainer has put autocast
    with running(model, None if ids is None else Batch(ids, words, every_token)):
        return model(features)  # type: ignore[no-any-return]


def _read_shipped(model: nn.Module, features: Features) -> Tensor:
    return run(model, features)["sentence_embedding"]  # type: ignore[no-any-return]


def read_without_dropout(model: nn.Module, features: Features) -> Tensor:
    """Return what :func:`read` does, in evaluation mode; gradients flow all the same."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        return read(model, features)
    finally:
        for module, training in modes:  # a wrapper for several ranks may stand in another mode than what it wraps
            module.training = training


def repeat_rows(features: Features, times: int = 2) -> Features:
    """Return the features of a batch of ``times`` N rows: the N given ones, then the same again."""
    return {
        key: torch.cat([value] * times) if isinstance(value, Tensor) and value.ndim else value
        for key, value in features.items()
    }


def _embed_times(model: nn.Module, column: Features, times: int) -> list[Tensor]:
    """Embed a column once or twice, under dropout of its own each time."""
    if "cu_seq_lens_q" in column:  # packed rows lie end to end in one long one, which cannot be repeated by cat
        return [embed(model, column) for _ in range(times)]
    if "attention_mask" in column and _in_groups(model, column["attention_mask"].device):
        return _embed_in_groups(model, column, times)
    return list(embed(model, repeat_rows(column, times)).chunk(times))


def _in_groups(model: nn.Module, device: torch.device) -> bool:
    state = fast_path_of(model)
    return state is not None and state.length_groups and devices.is_cpu(device)


def _embed_in_groups(model: nn.Module, column: Features, times: int) -> list[Tensor]:
    """Embed group by group in the order of length, and put the rows back in their own order.

    No row sees another one inside an encoder, so the grouping changes neither the embeddings nor the loss.
    """
    order, sizes = _groups_by_length(column, times)
    groups = (take_rows(column, index) for index in order.split(sizes))
    views = [embed(model, repeat_rows(group, times)).chunk(times) for group in groups]
    back = order.argsort()
    return [torch.cat(parts)[back] for parts in zip(*views, strict=True)]


def in_pieces(encode: Callable[[Features], Tensor], column: Features) -> Tensor:
    """Return what a function makes of a column's rows, taken in pieces that keep no activations of the others.

    Args:
        encode: from the features of some rows to one row each; meant to be free of gradients.
        column: of N rows.
    """
    order, sizes = _groups_by_length(column)
    return torch.cat([encode(take_rows(column, index)) for index in order.split(sizes)])[order.argsort()]


def _groups_by_length(column: Features, times: int = 1) -> tuple[Tensor, int | list[int]]:
    """Return a column's rows in the order of their length, and how many of them to encode together."""
    lengths, order = column["attention_mask"].sum(dim=1).sort(stable=True)
    if not devices.is_cpu(order.device):
        return order, _GPU_ROWS
    return order, group_sizes(lengths.clamp(min=1).tolist(), _CPU_TOKENS // times, _CPU_TOKENS_OF_A_PASS // times)


def take_rows(column: Features, index: Tensor) -> Features:
    """Return the features of some rows, without the padding that they do not need."""
    rows, width = column["attention_mask"].shape
    places = column["attention_mask"][index].any(dim=0).nonzero()
    used = int(places[-1]) + 1 if len(places) else 1  # of sentences that a tokenizer leaves nothing of
    taken = {}
    for key, value in column.items():
        if isinstance(value, Tensor) and value.ndim and len(value) == rows:
            value = value[index]
            value = value[:, :used] if value.ndim > 1 and value.shape[1] == width else value
        taken[key] = value
    return taken
