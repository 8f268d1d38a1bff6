"""The verdict of an adaptation: whether the adapted model finds documents better than the start, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smoothcse._utils.choices import Rerank
from smoothcse.experiments.adapt.judge import ProbeScores
from smoothcse.experiments.statistics import Difference, paired_bootstrap

LEAST_DOCUMENTS = 20
"""Documents below which a verdict is not attempted: the interval would be wider than any gain."""

LEAST_GAIN = 0.1
"""MRR × 100 below which a gain by the probe counts as none. A few documents that all rise by a rank exclude zero from
a bootstrap interval, and are no reason to change the encoder."""

MOST_MILLISECONDS = 500.0
"""Further time of a query up to which MaxSim is the default of a search, so that results still appear while typing."""

_MOST_CHANGED = 5


@dataclass(frozen=True)
class BeforeAfter:
    """A score before and after, on the same queries.

    Attributes:
        before: Score of the start.
        after: Score of the adapted model.
        difference: Their difference, with its paired 95% bootstrap interval.
    """

    before: float
    after: float
    difference: Difference


@dataclass(frozen=True)
class LabelComparison(BeforeAfter):
    """A comparison on the user's own labels.

    Attributes:
        name: Name of the labels.
        metric: Name of the metric, such as ``MRR x 100``.
        items: Number of labelled items.
    """

    name: str
    metric: str
    items: int


@dataclass(frozen=True)
class GeneralComparison:
    """General quality before and after.

    Attributes:
        before: Average of the start.
        after: Average of the adapted model.
        share: Share of the trained weights in the adapted model; below 1 if weights were averaged with the start.
    """

    before: float
    after: float
    share: float


@dataclass(frozen=True)
class MaxSimComparison(BeforeAfter):
    """The model that is handed out, fused with BM25, before and after MaxSim over the first 50 documents.

    Attributes:
        before: MRR × 100 of the fused score.
        after: MRR × 100 after late interaction.
        queries: Number of queries, a part of those of the verdict.
        milliseconds: Further time of one query.
    """

    queries: int
    milliseconds: float

    @property
    def is_worth_it(self) -> bool:
        """Whether a gain is established, and quick enough for every search."""
        return _is_gain(self.difference) and self.milliseconds <= MOST_MILLISECONDS

    def sentence(self) -> str:
        """Return whether searches should be reranked, in words."""
        gain, cost = f"MRR {self.difference}", f"{self.milliseconds:.0f} ms per query"
        if self.is_worth_it:
            return f"Searches are reranked by MaxSim (--rerank none leaves it out): {gain} for {cost}."
        if _is_gain(self.difference):
            return f"--rerank maxsim is better but too slow to be the default: {gain} for {cost}."
        return f"--rerank maxsim is not worth its {cost}: {gain}."


@dataclass(frozen=True)
class ChangedDocument:
    """A document whose rank changed.

    Attributes:
        query: Query that asks for it.
        document: The document.
        before: Rank by the start.
        after: Rank by the adapted model.
    """

    query: str
    document: str
    before: int
    after: int


@dataclass(frozen=True)
class Verdict:
    """The start and the adapted model, compared on documents that neither trained nor selected.

    Attributes:
        bm25: MRR × 100 of BM25.
        alone: MRR × 100 by cosine similarity.
        fused: MRR × 100 by cosine similarity and BM25.
        documents: Number of documents asked for.
        queries: Number of queries.
        risen: Documents that rose most.
        fallen: Documents that fell most.
        labels: Comparison on the user's own labels; None without labels.
        general: Comparison of the average of seven STS tasks on a sample, Spearman × 100; None if not measured.
        maxsim: Comparison of the model that is handed out with itself and MaxSim; None if not measured.
    """

    bm25: float
    alone: BeforeAfter
    fused: BeforeAfter
    documents: int
    queries: int
    risen: Sequence[ChangedDocument]
    fallen: Sequence[ChangedDocument]
    labels: LabelComparison | None = None
    general: GeneralComparison | None = None
    maxsim: MaxSimComparison | None = None

    @property
    def keeps_start(self) -> bool:
        """Whether the start is handed back.

        Labels decide where their interval excludes zero. Otherwise the start is handed back if the probe establishes
        no gain alone of at least :data:`LEAST_GAIN`, or a loss when fused.
        """
        if self.labels is not None and self.labels.difference.established:
            return self.labels.difference.mean < 0
        return not _is_worth_changing(self.alone.difference) or _is_loss(self.fused.difference)

    @property
    def rerank(self) -> Rerank:
        """Second stage of a search to use by default with the model that is handed out."""
        return "maxsim" if self.maxsim is not None and self.maxsim.is_worth_it else "none"

    def sentence(self) -> str:
        """Return the verdict in words."""
        models = f"Keep your model: {self._reason_to_keep()}." if self.keeps_start else self._what_was_gained()
        return models if self.maxsim is None else f"{models} {self.maxsim.sentence()}"

    def _what_was_gained(self) -> str:
        alone, fused = self.alone.difference, self.fused.difference
        by_labels = f"; {self.labels.metric} {self.labels.difference} on your labels" if self.labels else ""
        together = "" if fused.established else " (the interval contains zero)"
        return (
            f"Adapted: MRR {alone} alone and {fused} fused with BM25{together}, on {self.documents} held-out documents"
            f"{by_labels}."
        )

    def _reason_to_keep(self) -> str:
        alone, fused = self.alone.difference, self.fused.difference
        if self.labels is not None and _is_loss(self.labels.difference):
            return f"on your labels the adapted one is worse ({self.labels.metric} {self.labels.difference})"
        if not _is_worth_changing(alone):
            too_small = f"; less than {LEAST_GAIN} counts as none" if _is_gain(alone) else ""
            return f"no gain was established on {self.documents} held-out documents (MRR {alone}{too_small})"
        return f"fused with BM25 the adapted one is worse (MRR {fused}), although it is better alone ({alone})"


def compare_probe(before: ProbeScores, after: ProbeScores) -> Verdict:
    """Compare two models on the judging half of a probe.

    Args:
        before: Scores of the start.
        after: Scores of the adapted model, on the same probe.
    """
    judge = before.judge
    rows = judge.queries("judging")
    return Verdict(
        bm25=float(before.by_document(before.rankings.bm25, "judging").mean()),
        alone=_compare(before, after, "cosine"),
        fused=_compare(before, after, "fused"),
        documents=judge.documents("judging"),
        queries=len(rows),
        risen=_changed(before, after, rising=True),
        fallen=_changed(before, after, rising=False),
    )


def _compare(before: ProbeScores, after: ProbeScores, by: str) -> BeforeAfter:
    old, new = (scores.by_document(getattr(scores.rankings, by), "judging") for scores in (before, after))
    return BeforeAfter(float(old.mean()), float(new.mean()), paired_bootstrap(new, old))


def _changed(before: ProbeScores, after: ProbeScores, *, rising: bool) -> list[ChangedDocument]:
    """Return the documents whose reciprocal rank by cosine similarity rose, or fell, most."""
    judge, rows = before.judge, before.judge.queries("judging")
    old, new = (scores.rankings.cosine for scores in (before, after))
    gains = (new.reciprocal_ranks - old.reciprocal_ranks)[rows] * (1 if rising else -1)
    places = [rows[place] for place in np.argsort(-gains, kind="stable") if gains[place] > 0]
    found: dict[int, ChangedDocument] = {}  # each document once
    for place in places:
        document = int(judge.relevant[place])
        found.setdefault(
            document,
            ChangedDocument(
                judge.task.queries[place],
                judge.task.documents[document],
                int(old.ranks[place]),
                int(new.ranks[place]),
            ),
        )
    return list(found.values())[:_MOST_CHANGED]


def _is_worth_changing(difference: Difference) -> bool:
    return _is_gain(difference) and difference.mean >= LEAST_GAIN


def _is_gain(difference: Difference) -> bool:
    return difference.established and difference.mean > 0


def _is_loss(difference: Difference) -> bool:
    return difference.established and difference.mean < 0
