"""Further yardsticks beside the probe: the user's own labels, and general quality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sentence_transformers import SentenceTransformer

from smoothcse.encoders.average import average_with_start
from smoothcse.evaluation.general import general_tasks, score_general
from smoothcse.evaluation.own_labels import OwnLabels, load_own_labels
from smoothcse.experiments.adapt.read_corpus import read_whole
from smoothcse.experiments.adapt.request import AdaptRequest
from smoothcse.experiments.adapt.verdict import GeneralComparison, LabelComparison
from smoothcse.experiments.compare_labels import compare

TOLERATED_LOSS = 0.3
"""Loss of general quality, in points, up to which the trained weights are kept as they are."""

SHARES = (0.75, 0.5, 0.25)
"""Shares of the trained weights that are tried, in this order, if training cost more."""


@dataclass(frozen=True)
class Yardsticks:
    """What a trained model is measured by, beside the probe.

    Attributes:
        labels: The user's own labels; None without them.
        general: Function that returns a model's general quality; None if it is not measured.
    """

    labels: OwnLabels | None
    general: Callable[[SentenceTransformer], float] | None


def read_yardsticks(request: AdaptRequest) -> Yardsticks:
    """Read the labels and check the general data that a request names.

    Raises:
        SmoothCSEError: If they cannot be read, or the labels are for other documents.
    """
    labels = None
    if request.dev is not None:
        labels = load_own_labels(request.dev, read_whole(request))
    if request.general is None:
        return Yardsticks(labels, None)
    tasks = general_tasks(request.general)

    def general(model: SentenceTransformer) -> float:
        return score_general(model, tasks, precision=request.precision).main

    return Yardsticks(labels, general)


def keep_general_quality(
    trained: SentenceTransformer, start: SentenceTransformer, general: Callable[[SentenceTransformer], float]
) -> tuple[SentenceTransformer, GeneralComparison]:
    """Average the weights with those of the start, as far as general quality requires (WiSE-FT).

    Args:
        trained: Trained model.
        start: Model that the training started from.
        general: Function that returns a model's general quality.

    Returns:
        The model with the largest share of trained weights that loses at most :data:`TOLERATED_LOSS`, or the one with
        the smallest share that was tried, and what it keeps.
    """
    before = general(start)
    model, share, after = trained, 1.0, general(trained)
    for smaller in SHARES:
        if after >= before - TOLERATED_LOSS:
            break
        model, share = average_with_start(trained, start, smaller), smaller
        after = general(model)
    return model, GeneralComparison(before, after, share)


def compare_labels(
    labels: OwnLabels, start: SentenceTransformer, model: SentenceTransformer, request: AdaptRequest
) -> LabelComparison:
    """Compare a model with the start on the user's own labels."""
    before, after = (labels.score(one, precision=request.precision) for one in (start, model))
    return LabelComparison(
        before=before.value,
        after=after.value,
        difference=compare(before, after),
        name=labels.name,
        metric=labels.metric,
        items=len(labels),
    )
