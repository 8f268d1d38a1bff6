"""From sentences to an array of embeddings: the one place where models are run for inference."""

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
from smoothcse.encoders.precision import resolve_precision, without_autocast
from smoothcse.encoders.prompts import prompt_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

_TOKENS_AT_A_TIME = {"cpu": 1024, "cuda": 32_768}
"""A CPU's cache holds the activations of about so many; a GPU wants enough to be busy with."""
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

    The embeddings equal those of sentence-transformers' ``encode``, or of its ``encode_query`` and ``encode_document``
    for these input types.

    Sentences are batched by their number of tokens; the host would go by characters, which leaves a fifth more
    padding in short sentences. The results come back in the order given.

    Args:
        model: any sentence-transformers model.
        sentences: n strings.
        input_type: What the sentences are: ``"query"``, ``"document"``, or None (default) for any other text. Chooses
            the prompt, see :mod:`smoothcse.encoders.prompts`.
        prompt_name: Name of one of the model's prompts to use instead.
        prompt: Prompt to use instead.
        batch_size: sentences per forward; None (default) for as many as make 1,024 tokens on a CPU and 32,768 on a
            GPU, short sentences coming in larger batches than long ones.
        precision: ``"fp32"`` (default); ``"bf16"``, in which the transformer computes with copies of its weights and
            pooling and the rest stay fp32; or ``"auto"``, which is bf16 where the hardware computes in it.
        normalize: whether to scale each embedding to length 1.
        show_progress: whether to show a bar with the time left.

    Returns:
        float32 ``(n, d)``.

    Raises:
        SmoothCSEError: If the model has no such prompt.
    """
    prompt = prompt_of(model, input_type, prompt_name=prompt_name, prompt=prompt)
    if not len(sentences):
        return np.zeros((0, model.get_embedding_dimension() or 0), dtype=np.float32)
    counts = token_counts(model, sentences, prompt)
    order = np.argsort(-counts, kind="stable")  # the longest first: memory runs out at once
    batches = list(_batches(order, counts, batch_size, tokens_at_a_time(model.device.type)))
    model = in_precision(model, precision)
    # Which method it is also decides the route through a model with one module for queries and one for documents.
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


def tokens_at_a_time(device_type: str) -> int:
    """Return how many tokens :func:`encode` gives a model of this kind of device in one forward."""
    return _TOKENS_AT_A_TIME.get(device_type, 1024)


def token_counts(model: SentenceTransformer, sentences: Sequence[str], prompt: str = "") -> NDArray[np.int64]:
    """Return the tokens of each sentence and its prompt, or the characters without a Hugging Face tokenizer.

    A fast tokenizer is only read: calling it would set its padding, which another thread may be using.
    """
    texts = [prompt + sentence for sentence in sentences]
    if not isinstance(model.tokenizer, PreTrainedTokenizerBase):
        return np.array([len(text) for text in texts])
    longest = model.max_seq_length or np.iinfo(np.int64).max
    if backend := getattr(model.tokenizer, "backend_tokenizer", None):
        counts = [
            sum(encoding.attention_mask)
            for first in range(0, len(texts), _COUNTED_TOGETHER)  # a batch may be padded to its longest text
            for encoding in backend.encode_batch_fast(texts[first : first + _COUNTED_TOGETHER])
        ]
    else:
        counts = [len(ids) for ids in model.tokenizer(texts, return_attention_mask=False)["input_ids"]]
    return np.minimum(counts, longest)


def _with_bar(batches: list[NDArray[np.int64]], show: bool) -> Iterable[NDArray[np.int64]]:
    """Show how many batches are left, on standard error."""
    return track(batches, "encoding", console=Console(stderr=True)) if show else batches
