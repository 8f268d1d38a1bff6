"""Inference with static models, where nearly all of the time is spent on tokenizing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from sentence_transformers.util import truncate_embeddings
from tokenizers import Encoding, Tokenizer

_TEXTS_AT_A_TIME = 1024
_CHARACTERS_PER_TOKEN = 8  # a text with more of them on average is tokenized twice


def is_static(model: SentenceTransformer) -> bool:
    """Return whether a model averages one vector per token, without a transformer."""
    return isinstance(model[0], StaticEmbedding)


def encode_static(model: SentenceTransformer, texts: Sequence[str], *, normalize: bool = False) -> NDArray[np.float32]:
    """Return the embeddings of the host's ``encode``, without tokenizing what would be truncated.

    Args:
        model: Static model.
        texts: Texts with their prompts, at least one.
        normalize: Whether to scale each embedding to length 1.

    Returns:
        Embeddings, float32 ``(n, d)``.
    """
    blocks = (texts[first : first + _TEXTS_AT_A_TIME] for first in range(0, len(texts), _TEXTS_AT_A_TIME))
    with torch.inference_mode():
        encoded = [model(_features(model, block))["sentence_embedding"] for block in blocks]
        embeddings = truncate_embeddings(torch.cat(encoded), model.truncate_dim).float()
        if normalize:
            embeddings = torch.nn.functional.normalize(embeddings, dim=1)
    found: NDArray[np.float32] = embeddings.cpu().numpy()
    return found


def _features(model: SentenceTransformer, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return what the host's ``StaticEmbedding.preprocess`` returns."""
    ids = [encoding.ids for encoding in _tokenize(model[0].tokenizer, texts)]
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    flat = np.fromiter((token for row in ids for token in row), dtype=np.int64, count=lengths.sum())
    features = {"input_ids": flat, "offsets": np.cumsum(lengths) - lengths}
    return {name: torch.from_numpy(values).to(model.device) for name, values in features.items()}


def _tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    """Tokenize texts; the tail of a long one is left out if the words before it have as many tokens as are kept."""
    limit = tokenizer.truncation["max_length"] if tokenizer.truncation else None
    if limit is None:
        return list(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    most = _CHARACTERS_PER_TOKEN * limit
    heads = [text if len(text) <= most else text[:most].rpartition(" ")[0] for text in texts]
    found = list(tokenizer.encode_batch_fast(heads, add_special_tokens=False))
    short = [row for row, text in enumerate(texts) if len(text) > most and len(found[row].ids) < limit]
    for row, encoding in zip(
        short, tokenizer.encode_batch_fast([texts[row] for row in short], add_special_tokens=False), strict=True
    ):
        found[row] = encoding
    return found
