"""Inference: from sentences to an array of embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from transformers import PreTrainedTokenizerBase

from smoothcse._utils.choices import InputType, Precision
from smoothcse.encoders.bf16_weights import with_bf16_weights
from smoothcse.encoders.exported import is_exported, with_bf16_graph
from smoothcse.encoders.precision import resolve_precision, without_autocast
from smoothcse.encoders.prompts import prompt_of
from smoothcse.encoders.static_inference import encode_static, is_static

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

_TOKENS_AT_A_TIME = {"cpu": 1024, "cuda": 32_768}
"""Tokens of a forward pass by device: about as many as fit a CPU's cache, and enough to keep a GPU busy."""
_COUNTED_TOGETHER = 64  # texts


def encode(
    model: SentenceTransformer,
    sentences: Sequence[str],
    input_type: InputType | None = None,
    *,
    prompt_name: str | None = None,
    prompt: str | None = None,
    batch_size: int | None = None,
    precision: Precision = "fp32",
    normalize: bool = False,
    show_progress: bool = False,
) -> NDArray[np.float32]:
    """Encode sentences with a model, in evaluation mode.

    The embeddings equal those of sentence-transformers' ``encode``, or of ``encode_query`` and ``encode_document`` for
    these input types.

    Sentences are batched by their number of tokens. The host sorts by characters, which adds a fifth more padding for
    short sentences. Embeddings are returned in the order of the sentences. A static model takes 1,024 sentences at a
    time.

    Args:
        model: Any sentence-transformers model.
        sentences: Sentences, n strings.
        input_type: Role of the sentences: ``"query"``, ``"document"``, or None (default) for any other text. Selects
            the prompt, see :mod:`smoothcse.encoders.prompts`.
        prompt_name: Name of one of the model's prompts, which replaces the one selected.
        prompt: Prompt that replaces the one selected.
        batch_size: Sentences per forward pass. None (default) takes as many as make 1,024 tokens on a CPU or 32,768 on
            a GPU, so that batches of short sentences are larger.
        precision: ``"fp32"`` (default); ``"bf16"``, in which the transformer uses bf16 copies of its weights, or its
            OpenVINO graph computes in bf16, while pooling and later modules stay in fp32 (ONNX graphs stay in fp32);
            or ``"auto"``, which is bf16 on hardware with bf16 instructions.
        normalize: Whether to scale each embedding to length 1.
        show_progress: Whether to show a progress bar on standard error.

    Returns:
        Embeddings, float32 ``(n, d)``.

    Raises:
        SmoothCSEError: If the model has no such prompt.
    """
    prompt = prompt_of(model, input_type, prompt_name=prompt_name, prompt=prompt)
    if not len(sentences):
        return np.zeros((0, model.get_embedding_dimension() or 0), dtype=np.float32)
    if is_static(model):
        return encode_static(model, [prompt + sentence for sentence in sentences], normalize=normalize)
    counts = token_counts(model, sentences, prompt)
    order = np.argsort(-counts, kind="stable")  # the longest first, so that memory runs out at once if it does
    batches = list(_batches(order, counts, batch_size, tokens_at_a_time(model.device.type)))
    model = in_precision(model, precision)
    # The method also selects the route through models with separate modules for queries and documents.
    method = {None: model.encode, "query": model.encode_query, "document": model.encode_document}[input_type]
    with without_autocast(model):
        encoded = [
            method(
                [sentences[row] for row in batch],
                prompt=prompt,
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
    """Return a model that computes in a precision: the model itself, or a copy in bf16.

    :func:`encode` does this at each call. Call this once and reuse the result when you encode many small batches;
    ``encode`` makes no further copy of it.

    Args:
        model: Any sentence-transformers model, which is not changed.
        precision: As in :func:`encode`.
    """
    resolved = resolve_precision(precision, "encode", model.device.type)
    if resolved != "bf16":
        return model
    return with_bf16_graph(model) if is_exported(model) else with_bf16_weights(model)


def _batches(
    order: NDArray[np.int64], counts: NDArray[np.int64], batch_size: int | None, tokens: int
) -> Iterator[NDArray[np.int64]]:
    """Split rows of decreasing length into batches of ``batch_size`` sentences or at most ``tokens`` tokens."""
    first = 0
    while first < len(order):
        size = batch_size or max(1, tokens // max(1, int(counts[order[first]])))
        yield order[first : first + size]
        first += size


def tokens_at_a_time(device_type: str) -> int:
    """Return the number of tokens in a forward pass of :func:`encode` on a type of device."""
    return _TOKENS_AT_A_TIME.get(device_type, 1024)


def token_counts(model: SentenceTransformer, sentences: Sequence[str], prompt: str = "") -> NDArray[np.int64]:
    """Return the number of tokens of each sentence with its prompt, ``(n,)``.

    Models without a Hugging Face tokenizer count characters. A fast tokenizer is used through its backend, since
    calling it would change its padding, which another thread may be using.

    Args:
        model: Any sentence-transformers model.
        sentences: Sentences, n strings.
        prompt: Prompt in front of each sentence.
    """
    texts = [prompt + sentence for sentence in sentences]
    if not isinstance(model.tokenizer, PreTrainedTokenizerBase):
        return np.array([len(text) for text in texts])
    longest = model.max_seq_length or np.iinfo(np.int64).max
    if backend := getattr(model.tokenizer, "backend_tokenizer", None):
        counts = [
            sum(encoding.attention_mask)
            for first in range(0, len(texts), _COUNTED_TOGETHER)  # small, since a batch may be padded
            for encoding in backend.encode_batch_fast(texts[first : first + _COUNTED_TOGETHER])
        ]
    else:
        counts = [len(ids) for ids in model.tokenizer(texts, return_attention_mask=False)["input_ids"]]
    return np.minimum(counts, longest)


def _with_bar(batches: list[NDArray[np.int64]], show: bool) -> Iterable[NDArray[np.int64]]:
    """Show the number of batches left, on standard error."""
    return track(batches, "encoding", console=Console(stderr=True)) if show else batches
