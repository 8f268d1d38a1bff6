"""The verdict of an adaptation: whether the adapted model finds documents better than the start, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smoothcse.experiments.adapt.judge import ProbeScores
from smoothcse.experiments.statistics import Difference, paired_bootstrap

LEAST_DOCUMENTS = 20
"""Documents below which a verdict is not attempted: the interval would be wider than any gain."""

_MOST_CHANGED = 5


@dataclass(frozen=True)
class Comparison:
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
    """

    bm25: float
    alone: Comparison
    fused: Comparison
    documents: int
    queries: int
    risen: Sequence[ChangedDocument]
    fallen: Sequence[ChangedDocument]

    @property
    def keeps_start(self) -> bool:
        """Whether the start is handed back: no established gain alone, or an established loss when fused."""
        return not _is_gain(self.alone.difference) or _is_loss(self.fused.difference)

    def sentence(self) -> str:
        """Return the verdict in words."""
        alone, fused = self.alone.difference, self.fused.difference
        if not _is_gain(alone):
            return (
                f"Keep your model: no gain was established on {self.documents} held-out documents (MRR {alone}; the "
                "interval contains zero or lies below it)."
            )
        if _is_loss(fused):
            return f"Keep your model: alone it finds more (MRR {alone}), but fused with BM25 it finds less ({fused})."
        together = "" if _is_gain(fused) else "; fused, the interval contains zero"
        measured = f"on {self.documents} held-out documents{together}"
        return f"Adapted: MRR {alone} alone and {fused} fused with BM25, {measured}."


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


def _compare(before: ProbeScores, after: ProbeScores, by: str) -> Comparison:
    old, new = (scores.by_document(getattr(scores.rankings, by), "judging") for scores in (before, after))
    return Comparison(float(old.mean()), float(new.mean()), paired_bootstrap(new, old))


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


def _is_gain(difference: Difference) -> bool:
    return difference.established and difference.mean > 0


def _is_loss(difference: Difference) -> bool:
    return difference.established and difference.mean < 0
