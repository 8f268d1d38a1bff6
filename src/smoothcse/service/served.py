"""The served models, and how they are loaded."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcse._utils.choices import Backend, PoolingName, Rerank
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.load import holds_models, load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.maxsim import check_token_embeddings
from smoothcse.runs.search_settings import find_search_settings

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

    from smoothcse.search import Index


@dataclass(frozen=True)
class Served:
    """A served encoder with its index, if any.

    Attributes:
        name: Name by which requests select the encoder.
        model: Encoder.
        index: Index built with this encoder, or None.
        cosine_weight: Default weight of the cosine similarity in a search; None for that of the index.
        rerank: Default second stage of a search; None for that of the index.
        maxsim: Whether texts are reranked by late interaction instead of cosine similarity.
    """

    name: str
    model: SentenceTransformer
    index: Index | None = None
    cosine_weight: float | None = None
    rerank: Rerank | None = None
    maxsim: bool = False


@dataclass(frozen=True)
class Reranker:
    """A served cross-encoder.

    Attributes:
        name: Name by which requests select it.
        model: Cross-encoder with one output.
    """

    name: str
    model: CrossEncoder


def load_served(
    models: Sequence[str],
    indexes: Sequence[Path] = (),
    poolings: Sequence[PoolingName] = (),
    cosine_weight: float | None = None,
    rerank: Rerank | None = None,
    backend: Backend | None = None,
) -> list[Served]:
    """Load models, and assign each index to the model that built it.

    Args:
        models: Run folders, model folders or Hub names.
        indexes: Indexes, each built with one of the models.
        poolings: One pooling per model, to use instead of its own. Default: the models' own.
        cosine_weight: Default weight of the cosine similarity in a search. Default: that of each index.
        rerank: Default second stage of a search. Default: that of each index.
        backend: Runtime of the models, see :func:`~smoothcse.encoders.load.load_encoder`. Default: that of each
            folder.

    Raises:
        SmoothCSEError: If a model or an index cannot be read, an index has no words for the weight, a model has no
            token embeddings for the second stage, an index matches none of the models, or two indexes match one model.
    """
    from smoothcse.search import Index

    if poolings and len(poolings) != len(models):
        raise SmoothCSEError(f"{len(poolings)} poolings are given for {len(models)} models; give one per model.")
    chosen: list[PoolingName | None] = [*poolings] or [None] * len(models)
    encoders = [load_encoder(name, pooling, backend=backend) for name, pooling in zip(models, chosen, strict=True)]
    made_by = {fingerprint(encoder): number for number, encoder in enumerate(encoders)}
    found: dict[int, Index] = {}
    for path in indexes:
        number = made_by.get(Index.fingerprint_of(path))
        if number is None:
            raise SmoothCSEError(
                f"The index {path} was built with another model than {' and '.join(models)}, or with another "
                "--pooling; give the model and pooling that it was built with."
            )
        if number in found:
            raise SmoothCSEError(f"The index {path} is a second one for {models[number]}; give one per model.")
        with warnings.catch_warnings(action="ignore"):  # the service itself reports incomplete indexes
            found[number] = Index.open(path, encoders[number])
        if cosine_weight is not None:
            found[number].check_cosine_weight(cosine_weight)
    for encoder in encoders if rerank == "maxsim" else ():
        check_token_embeddings(encoder)
    names = _names(models, chosen)
    return [
        Served(name, model, found.get(row), cosine_weight, rerank, maxsim=(rerank or _own_rerank(source)) == "maxsim")
        for row, (name, model, source) in enumerate(zip(names, encoders, models, strict=True))
    ]


def _own_rerank(model: str) -> Rerank:
    """Return the second stage that the search settings of a model choose."""
    settings = find_search_settings(model)
    return "none" if settings is None else settings.rerank


def _names(models: Sequence[str], poolings: Sequence[PoolingName | None]) -> list[str]:
    """Return short, distinct names."""
    short = [_short_name(model) for model in models]
    names = short if len(set(short)) == len(short) else list(models)
    if len(set(names)) < len(names):
        names = [f"{name} ({pooling})" for name, pooling in zip(short, poolings, strict=True)]
    if len(set(names)) < len(names):
        raise SmoothCSEError(f"The model {models[0]} is given twice; give it once, or with two poolings.")
    return names


def _short_name(model: str) -> str:
    """Return the name of a model's folder, or of the run or adaptation that it is a part of, such as ``RUN/last``."""
    if not Path(model).is_dir():
        return Path(model).name
    folder = Path(os.path.abspath(model))  # so that "." has a name
    return (folder.parent if holds_models(folder.parent) else folder).name
