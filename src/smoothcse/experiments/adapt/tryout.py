"""One tryout: the start is scored, candidates are trained, and the best one is compared with the start."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sentence_transformers import SentenceTransformer

from smoothcse._utils.choices import Rerank
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.fusion import COSINE_WEIGHT
from smoothcse.experiments.adapt.candidates import suitable_candidates
from smoothcse.experiments.adapt.judge import ProbeScores
from smoothcse.experiments.adapt.material import Material
from smoothcse.experiments.adapt.maxsim_gain import try_maxsim
from smoothcse.experiments.adapt.request import AdaptRequest
from smoothcse.experiments.adapt.search import search
from smoothcse.experiments.adapt.show import Progress
from smoothcse.experiments.adapt.trials import Trial, Trials
from smoothcse.experiments.adapt.verdict import LEAST_DOCUMENTS, Verdict, compare_probe
from smoothcse.experiments.adapt.yardsticks import Yardsticks, compare_labels, keep_general_quality
from smoothcse.training.selection import DEV_SCORE, Criterion

_SCORINGS_AT_THE_END, _SHARE_OF_THE_END = 3, 0.1
"""Time kept for the comparison at the end: that of three scorings, and at most a tenth of the budget."""


@dataclass(frozen=True)
class Tryout:
    """What a tryout found.

    Attributes:
        model: Encoder to use: the adapted one, or the start.
        adapted: Whether it is the adapted one.
        cosine_weight: Weight of the cosine similarity in the fused score, chosen for this encoder.
        start_score: Criterion of selection of the start; None if nothing was tried.
        trials: Trained candidates, in order.
        selected: Trial with the highest score; None if nothing was tried.
        verdict: Comparison of the selected trial with the start; None if nothing was tried.
        summary: Verdict in one sentence.
    """

    model: SentenceTransformer
    adapted: bool
    cosine_weight: float
    start_score: float | None
    trials: list[Trial]
    selected: Trial | None
    verdict: Verdict | None
    summary: str

    @property
    def rerank(self) -> Rerank:
        """Second stage of a search that pays, for this encoder."""
        return self.verdict.rerank if self.verdict else "none"


def try_candidates(
    request: AdaptRequest,
    material: Material,
    yardsticks: Yardsticks,
    start: SentenceTransformer,
    progress: Progress,
) -> Tryout:
    """Train candidates within the budget, and compare the best one with the start.

    Args:
        request: Checked arguments.
        material: Texts to train on and to judge by.
        yardsticks: The user's labels and general quality, where given.
        start: Encoder to adapt.
        progress: Display, which also measures the time.

    Raises:
        SmoothCSEError: If the budget does not suffice for one short run.
    """
    asked = material.judge.documents("judging")
    if asked < LEAST_DOCUMENTS:
        return _too_few(start, asked)

    def score(model: SentenceTransformer) -> ProbeScores:
        return material.judge.score(model, request.precision)

    unscored = progress.seconds_left()
    with progress.showing("scoring the start"):
        before = score(start)
    for_the_end = min(
        _SCORINGS_AT_THE_END * (unscored - progress.seconds_left()), _SHARE_OF_THE_END * progress.seconds
    )
    progress.start(before.selection)
    criterion = Criterion(
        "probe, MRR x 100", lambda model: {DEV_SCORE: material.judge.selection(model, request.precision)}
    )
    trials = Trials(request, material, start, criterion, before.selection)
    suitable = suitable_candidates(several_sentences=material.several_sentences, titles=material.titles)
    search(trials, suitable, lambda: progress.seconds_left() - for_the_end, progress)
    selected = trials.best()
    trained, general, labels = load_encoder(trials.model_of(selected)), None, None
    with progress.showing("comparing the best with the start"):
        if yardsticks.general:
            trained, general = keep_general_quality(trained, start, yardsticks.general)
        if yardsticks.labels:
            labels = compare_labels(yardsticks.labels, start, trained, request)
        after = score(trained)
    verdict = replace(compare_probe(before, after), labels=labels, general=general)
    model, scores = (start, before) if verdict.keeps_start else (trained, after)
    verdict = replace(verdict, maxsim=try_maxsim(model, scores, request.precision, progress))
    return Tryout(
        model=model,
        adapted=not verdict.keeps_start,
        cosine_weight=scores.cosine_weight,
        start_score=before.selection,
        trials=trials.done,
        selected=selected,
        verdict=verdict,
        summary=verdict.sentence(),
    )


def _too_few(start: SentenceTransformer, asked: int) -> Tryout:
    summary = (
        f"Keep your model: only {asked} held-out documents can be asked for, and fewer than {LEAST_DOCUMENTS} cannot "
        "show whether another one is better. Give more documents."
    )
    return Tryout(start, False, COSINE_WEIGHT, None, [], None, None, summary)
