"""From sentences to an array of embeddings: the one place where models are run for inference."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

Precision = Literal["auto", "fp32", "bf16"]


def encode(
    model: SentenceTransformer,
    sentences: Sequence[str],
    *,
    batch_size: int = 32,
    precision: Precision = "fp32",
    normalize: bool = False,
    show_progress: bool = False,
) -> NDArray[np.float32]:
    """Encode sentences with a model, in evaluation mode.

    The host sorts the sentences by length before it batches them, and puts the results back in order.

    Args:
        model: any sentence-transformers model.
        sentences: n strings.
        batch_size: sentences per forward. Default 32: on CPUs larger batches fall out of the cache.
        precision: ``"fp32"`` (default), ``"bf16"`` autocast, or ``"auto"``: bf16 where the hardware computes in it.
        normalize: whether to scale each embedding to length 1.
        show_progress: whether to show a bar with the time left.

    Returns:
        float32 ``(n, d)``.
    """
    if not len(sentences):
        return np.zeros((0, model.get_embedding_dimension() or 0), dtype=np.float32)
    bf16 = precision == "bf16" or (precision == "auto" and has_fast_bf16(model.device.type))
    with torch.autocast(model.device.type, dtype=torch.bfloat16) if bf16 else nullcontext():
        embeddings = model.encode(
            list(sentences),
            batch_size=batch_size,
            normalize_embeddings=normalize,
            show_progress_bar=show_progress,
            convert_to_numpy=False,
            convert_to_tensor=True,
        )
    return embeddings.float().cpu().numpy()  # type: ignore[no-any-return]


def has_fast_bf16(device_type: str) -> bool:
    """Whether this kind of device has instructions for bf16, so that it is faster there than fp32."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device_type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False
