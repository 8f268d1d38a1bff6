"""From sentences to an array of embeddings: the one place where models are run for inference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from transformers import PreTrainedTokenizerBase

from smoothcse.bf16_weights import with_bf16_weights
from smoothcse.precision import Precision, resolve_precision, without_autocast

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

_TOKENS_AT_A_TIME = {"cpu": 1024, "cuda": 32_768}
"""A CPU's cache holds the activations of about so many; a GPU wants enough to be busy with."""


def encode(
    model: SentenceTransformer,
    sentences: Sequence[str],
    *,
    batch_size: int | None = None,
    precision: Precision = "fp32",
    normalize: bool = False,
    show_progress: bool = False,
) -> NDArray[np.float32]:
    """Encode sentences with a model, in evaluation mode.

    Sentences are batched by their number of tokens; the host would go by characters, which leaves a fifth more
    padding in short sentences. The results come back in the order given.

    Args:
        model: any sentence-transformers model.
        sentences: n strings.
        batch_size: sentences per forward; None (default) for as many as make 1,024 tokens on a CPU and 32,768 on a
            GPU, short sentences coming in larger batches than long ones.
        precision: ``"fp32"`` (default); ``"bf16"``, in which the transformer computes with copies of its weights and
            pooling and the rest stay fp32; or ``"auto"``, which is bf16 where the hardware computes in it.
        normalize: whether to scale each embedding to length 1.
        show_progress: whether to show a bar with the time left.

    Returns:
        float32 ``(n, d)``.
    """
    if not len(sentences):
        return np.zeros((0, model.get_embedding_dimension() or 0), dtype=np.float32)
    counts = token_counts(model, sentences)
    order = np.argsort(-counts, kind="stable")  # the longest first: memory runs out at once
    batches = list(_batches(order, counts, batch_size, _TOKENS_AT_A_TIME.get(model.device.type, 1024)))
    model = in_precision(model, precision)
    with without_autocast(model):
        encoded = [
            model.encode(
                [sentences[row] for row in batch],
                batch_size=len(batch),
                normalize_embeddings=normalize,
                show_progress_bar=False,
                convert_to_numpy=False,
                convert_to_tensor=True,
            )
            for batch in _with_bar(batches, show_progress)
        ]
    embeddings = torch.cat(encoded).float().cpu().numpy()
    in_order = np.empty_like(embeddings)
    in_order[order] = embeddings
    return in_order


def in_precision(model: SentenceTransformer, precision: Precision) -> SentenceTransformer:
    """Return what computes a model's embeddings in a precision: the model, or a copy of it with bf16 weights.

    :func:`encode` does this at each call. Who encodes single sentences, again and again, does it once and gives the
    copy to ``encode``, which then makes none.

    Args:
        model: any sentence-transformers model; left as it is.
        precision: as in :func:`encode`.
    """
    resolved = resolve_precision(precision, "encode", model.device.type)
    return with_bf16_weights(model) if resolved == "bf16" else model


def _batches(
    order: NDArray[np.int64], counts: NDArray[np.int64], batch_size: int | None, tokens: int
) -> Iterator[NDArray[np.int64]]:
    """Cut rows in the order of falling length into batches of a number of sentences, or of tokens."""
    first = 0
    while first < len(order):
        size = batch_size or max(1, tokens // max(1, int(counts[order[first]])))
        yield order[first : first + size]
        first += size


def token_counts(model: SentenceTransformer, sentences: Sequence[str]) -> NDArray[np.int64]:
    """Return the tokens of each sentence, or its characters for a model without a Hugging Face tokenizer."""
    if not isinstance(model.tokenizer, PreTrainedTokenizerBase):
        return np.array([len(sentence) for sentence in sentences])
    tokens = model.tokenizer(
        list(sentences),
        truncation=True,
        max_length=model.max_seq_length,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    return np.array([len(ids) for ids in tokens["input_ids"]])


def _with_bar(batches: list[NDArray[np.int64]], show: bool) -> Iterable[NDArray[np.int64]]:
    """Show how many batches are left, on standard error."""
    return track(batches, "encoding", console=Console(stderr=True)) if show else batches
