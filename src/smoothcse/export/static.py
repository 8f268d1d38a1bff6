r"""Distillation of an encoder into a static model: one vector per token, averaged over the text.

model2vec embeds each token of the vocabulary alone, which gives vectors :math:`V`. They become

.. math:: W = s\,S(V - \bar v) + S\,C, \qquad
          C = \arg\min_C \|X S C - T\|^2 + λ \|C\|^2

where a row of :math:`X` holds the share of each token in a text, and the row of :math:`T` the encoder's embedding of
that text, scaled to length 1 and centred, less :math:`s X S(V - \bar v)`. :math:`S` has the weights
:math:`a / (a + p_t)` for tokens of frequency :math:`p_t` on its diagonal (SIF: Arora et al., ICLR 2017), and :math:`s`
is the best scale for :math:`C = 0`. This ridge regression has a closed form. Tokens that do not occur in the texts
keep their distilled vectors. The mean of the embeddings is added to all vectors at the end, so that the static model
and the encoder share one space.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sentence_transformers import SentenceTransformer

from smoothcse._utils.extras import require
from smoothcse._utils.vectors import unit_rows
from smoothcse.encoders.inference import encode
from smoothcse.encoders.pooling import pooling_of
from smoothcse.errors import SmoothCSEError, first_line

LEARNED_TEXTS = 10_000
"""Maximum number of texts that a static model learns from: the regression takes 8 n² bytes."""

_PENALTY = 1e-3
"""λ. On two domains, values from 3e-4 to 3e-3 differ by at most 1.5 points of MRR."""

_SIF = 1e-3
"""a, the frequency at which a token has half of the weight of a rare one."""

_POOLINGS = {"cls": "first", "lasttoken": "last"}  # model2vec's names; mean for all others

FloatArray = NDArray[np.floating[Any]]


def write_static(model: SentenceTransformer, folder: Path, texts: Sequence[str]) -> list[Path]:
    """Distil a model into a static one, in the layout that model2vec and sentence-transformers read.

    Args:
        model: Model that starts with a transformer.
        folder: Folder to write.
        texts: Documents to learn from, at most 10,000.

    Returns:
        File with the vectors.

    Raises:
        SmoothCSEError: If the extra ``static`` is not installed, or model2vec cannot read the model.
    """
    width, own = model.get_embedding_dimension(), model[0].get_embedding_dimension()
    if width != own:
        raise SmoothCSEError(
            f"The embeddings of this model have {width} dimensions and those of its tokens {own}, so it has no static "
            "form; use --format onnx or safetensors."
        )
    return [save_static(folder, distilled(model), texts, encode(model, texts, "document"))]


def save_static(folder: Path, student: Any, texts: Sequence[str], embeddings: FloatArray) -> Path:
    """Fit a static model to the embeddings of texts, write it, and return the file with the vectors.

    Args:
        folder: Folder to write.
        student: Result of :func:`distilled`.
        texts: n texts.
        embeddings: The encoder's embeddings of these texts, ``(n, d)``.
    """
    ids = [encoding.ids for encoding in student.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    vectors = fit_vectors(student.embedding, token_shares(ids, len(student.tokens)), unit_rows(embeddings))
    limit = student.tokenizer.truncation and student.tokenizer.truncation["max_length"]
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "hidden_dim": student.dim}
    require("model2vec.persistence", "static", "The format static").save_pretrained(
        folder,
        vectors.astype(np.float32),  # in float16 the host's Normalize makes NaN of an empty text
        student.tokenizer,
        config | {"normalize": True, "max_length": limit},
        create_model_card=False,
    )
    return folder / "model.safetensors"


def distilled(model: SentenceTransformer) -> Any:
    """Return model2vec's static model, made of the tokens alone, which truncates texts where the encoder does.

    Args:
        model: Model that starts with a transformer.

    Raises:
        SmoothCSEError: If the extra ``static`` is not installed, or model2vec cannot read the model.
    """
    require("skeletoken", "static", "The format static")  # model2vec names it as an extra that needs old transformers
    distillation = require("model2vec.distill", "static", "The format static")
    network = deepcopy(model[0].model)  # whose table of tokens may be reshaped
    network.name_or_path = "."  # a hub name would be looked up on the hub
    try:
        with redirect_stderr(io.StringIO()):  # its progress bar
            student = distillation.distill_from_model(
                network,
                model.tokenizer,
                device=str(model.device),
                pca_dims=None,
                sif_coefficient=None,
                quantize_to="float32",
                pooling=_POOLINGS.get(pooling_of(model) or "", "mean"),
            )
    except Exception as error:  # model2vec, skeletoken and tokenizers raise their own classes
        raise SmoothCSEError(
            f"model2vec cannot distil this {network.config.model_type} model ({first_line(error)}); use --format onnx."
        ) from error
    student.tokenizer.no_truncation()
    if model.max_seq_length is not None:
        student.tokenizer.enable_truncation(model.max_seq_length)
    return student


def token_shares(ids: Sequence[Sequence[int]], vocabulary: int) -> sparse.csr_matrix:
    """Return the share of each token in each text, ``(n, vocabulary)``.

    Args:
        ids: Tokens of n texts.
        vocabulary: Number of tokens in the vocabulary.
    """
    lengths = [len(row) for row in ids]
    shares = np.repeat([1 / max(1, length) for length in lengths], lengths)
    columns = np.fromiter((token for row in ids for token in row), dtype=np.int64)
    counted = sparse.coo_matrix((shares, (np.repeat(np.arange(len(ids)), lengths), columns)), (len(ids), vocabulary))
    return counted.tocsr()


def fit_vectors(alone: FloatArray, shares: sparse.csr_matrix, targets: FloatArray) -> FloatArray:
    """Return token vectors whose mean over a text is close to the text's embedding.

    Args:
        alone: Embedding of each token alone, ``(v, d)``.
        shares: Share of each token in n texts, ``(n, v)``.
        targets: Embeddings of these texts, ``(n, d)``.

    Returns:
        Vectors, float64 ``(v, d)``.
    """
    from sklearn.linear_model import Ridge

    frequencies = np.asarray(shares.mean(axis=0)).ravel()
    weights = _SIF / (_SIF + frequencies)
    vectors = weights[:, None] * (alone - alone[frequencies > 0].mean(axis=0))
    mean = targets.mean(axis=0, dtype=np.float64)
    means = shares @ vectors
    scale = np.vdot(means, targets - mean) / max(np.vdot(means, means), np.finfo(float).tiny)
    ridge = Ridge(alpha=_PENALTY, fit_intercept=False, solver="cholesky")
    ridge.fit(shares @ sparse.diags(weights), targets - mean - scale * means)
    fitted: FloatArray = scale * vectors + weights[:, None] * ridge.coef_.T + mean
    return fitted
