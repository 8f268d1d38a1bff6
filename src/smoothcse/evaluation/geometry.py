"""Geometry of a model's embeddings, measured on real sentences with few labels or none.

Definitions, because papers use the same names for different quantities:

============== =====================================================================================================
alignment      Mean of ``||x̂ - ŷ||²`` over positive pairs. On STS-B dev (:func:`stsb_dev_geometry`), a positive pair
               is two *sentences* that annotators scored above 4. Without labels (:func:`python_docs_geometry`), it is
               two *dropout views* of one sentence. The two are not comparable.
uniformity     Log of the mean of ``exp(-2 ||x̂ - ŷ||²)`` over all pairs of *distinct* sentences: never a sentence
               with itself, and not over the positive pairs.
mean_cosine    Mean cosine over the same pairs as uniformity.
effective_rank Effective rank of the embeddings as the model returns them, neither normalised nor centred, from
               their singular values.
hubness        Skewness of the number of times that a sentence is among the ten nearest neighbours of another, by
               cosine.
============== =====================================================================================================

All metrics use the embeddings of the shipped model (without the training head, truncated to the model's own
``max_seq_length``), with ``x̂ = x / ||x||``. Only the dropout views run the model in training mode. See
:mod:`smoothcse.objectives.geometry` for formulas, ranges and caveats.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from smoothcse.encoders.inference import encode
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.score import Score
from smoothcse.evaluation.sts_tasks import STSB_DEV, STSTask, load_task
from smoothcse.objectives.geometry import alignment, effective_rank, hubness, mean_cosine, uniformity
from smoothcse.views.embed import dropout_views

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

POSITIVE = 4.0
"""Pairs of STS-B dev scored above this (of 5) are positives, as in the SimCSE paper and its successors."""

NEIGHBOURS = 10
"""Number of nearest neighbours ``k`` for hubness."""


@dataclass(frozen=True)
class GeometryTask:
    """Sentences to measure geometry on.

    Attributes:
        name: Name of the data, for reports.
        sentences: ``n`` distinct texts, more than :data:`NEIGHBOURS`.
        positives: Index pairs ``(i, j)`` of sentences with the same meaning, or None to use two dropout views of each
            sentence.

    Raises:
        SmoothCSEError: If there are too few sentences, or labels without any positive pair.
    """

    name: str
    sentences: tuple[str, ...]
    positives: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        count, distinct = len(self.sentences), len(set(self.sentences))
        if distinct != count or count <= NEIGHBOURS:
            raise SmoothCSEError(
                f"{self.name} has {count} sentences, {distinct} of them distinct, and geometry needs more than "
                f"{NEIGHBOURS} sentences, all distinct; give more, each once."
            )
        if self.positives is not None and not self.positives:
            raise SmoothCSEError(
                f"{self.name} has no pair scored above {POSITIVE:g}, so its alignment is not defined; "
                "fetch the original file again."
            )


def is_positive(score: float) -> bool:
    """Whether a pair of STS-B with this score counts as a positive pair of alignment."""
    return score > POSITIVE


def stsb_dev_geometry(folder: Path | str) -> GeometryTask:
    """Return the distinct sentences of STS-B dev, with the pairs scored above :data:`POSITIVE` as positives.

    Args:
        folder: Folder from :func:`~smoothcse.evaluation.data.sts_folder`.

    Raises:
        SmoothCSEError: If the file is missing or broken.
    """
    return labelled_geometry(load_task(folder, STSB_DEV))


def labelled_geometry(task: STSTask) -> GeometryTask:
    """Return the geometry task of any STS task, like :func:`stsb_dev_geometry`."""
    pairs = [
        (first, second, gold)
        for subset in task.subsets
        for first, second, gold in zip(subset.sentences1, subset.sentences2, subset.gold, strict=True)
    ]
    place: dict[str, int] = {}
    for first, second, _ in pairs:
        place.setdefault(first, len(place))
        place.setdefault(second, len(place))
    positives = tuple((place[first], place[second]) for first, second, gold in pairs if is_positive(gold))
    return GeometryTask(task.name, tuple(place), positives)


def python_docs_geometry(sample: int = 1000, seed: int = 0) -> GeometryTask:
    """Return a random sample of sentences from this Python's documentation, with dropout views as positives.

    Args:
        sample: Number of sentences.
        seed: Seed of the sample.
    """
    from smoothcse.corpus.python_docs import iter_sentences

    sentences = list(iter_sentences())
    chosen = np.sort(np.random.default_rng(seed).permutation(len(sentences))[:sample])
    return GeometryTask("python-docs, two dropout views", tuple(sentences[row] for row in chosen))


def evaluate_geometry(model: SentenceTransformer, task: GeometryTask, **encode_options: Any) -> Score:
    """Measure the geometry of a model's embeddings, as defined at the top of this module.

    Args:
        model: Any sentence-transformers model.
        task: Task from :func:`stsb_dev_geometry` or :func:`python_docs_geometry`.
        **encode_options: Options of :func:`~smoothcse.encoders.inference.encode`, e.g. ``batch_size``. Dropout views
            are always computed in float32.

    Returns:
        A score with the five metrics as they are, not in percent; ``main`` is the uniformity. If embeddings are not
        finite, there are no metrics, ``main`` is 0.0 and ``diagnosis`` says so.
    """
    x = torch.from_numpy(encode(model, task.sentences, **encode_options))
    if not x.isfinite().all():
        diagnosis = "Some embeddings are not finite: training has diverged; try a lower learning rate."
        return Score(task.name, main=0.0, metrics={}, rows=len(x), diagnosis=diagnosis)
    firsts, seconds = _positives(model, x, task)
    metrics = {
        "alignment": float(alignment(firsts, seconds)),
        "uniformity": float(uniformity(x)),
        "mean_cosine": float(mean_cosine(x)),
        "effective_rank": float(effective_rank(x)),
        "hubness": float(hubness(x, NEIGHBOURS)),
    }
    without_dropout = task.positives is None and torch.equal(firsts, seconds)
    return Score(
        task.name, main=metrics["uniformity"], metrics=metrics, rows=len(x), diagnosis=_diagnose(x, without_dropout)
    )


def _positives(model: SentenceTransformer, x: torch.Tensor, task: GeometryTask) -> tuple[torch.Tensor, torch.Tensor]:
    if task.positives is None:
        return dropout_views(model, task.sentences)
    firsts, seconds = zip(*task.positives, strict=True)
    return x[list(firsts)], x[list(seconds)]


def _diagnose(x: torch.Tensor, without_dropout: bool) -> str | None:
    """Return one sentence on why the metrics are misleading, or None if they are not."""
    if (x - x[0]).abs().max() <= 1e-3 * x.abs().max():
        return (
            "All embeddings are (nearly) identical: the model has collapsed; "
            "try a lower learning rate, or a checkpoint from earlier in the run."
        )
    if without_dropout:
        return "The model has no active dropout: its two views are identical, so their alignment is meaningless."
    return None
