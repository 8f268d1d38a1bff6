"""Whether late interaction (MaxSim) over the first 50 documents is worth its time for the model that is handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from smoothcse._utils.choices import Precision
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.maxsim import check_token_embeddings
from smoothcse.evaluation.reranking import rerank_fused
from smoothcse.evaluation.retrieval import RetrievalTask
from smoothcse.experiments.adapt.judge import Judge, ProbeScores, mean_by_document
from smoothcse.experiments.adapt.verdict import MaxSimComparison
from smoothcse.experiments.statistics import paired_bootstrap

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from smoothcse.experiments.adapt.show import Progress

MOST_QUERIES = 300
"""Maximum number of queries, which bounds the cost: up to 50 documents are encoded for each."""


def try_maxsim(
    model: SentenceTransformer, scores: ProbeScores, precision: Precision, progress: Progress
) -> MaxSimComparison | None:
    """Measure MaxSim, or print why it is not measured and return None.

    Args:
        model: Encoder that is handed out.
        scores: Its scores on the probe.
        precision: Arithmetic of the forward passes.
        progress: Display, which also measures the time.
    """
    if progress.seconds_left() <= 0:
        progress.console.print("MaxSim was not measured: the time budget is used up.")
        return None
    try:
        check_token_embeddings(model)
    except SmoothCSEError:
        progress.console.print("MaxSim was not measured: the model has no token embeddings.")
        return None
    with progress.showing("comparing token by token"):
        return measure_maxsim(model, scores, precision)


def measure_maxsim(model: SentenceTransformer, scores: ProbeScores, precision: Precision) -> MaxSimComparison | None:
    """Compare the fused ranking with the same after late interaction, on the judging half; None without embeddings.

    Args:
        model: Encoder with token embeddings.
        scores: Its scores on the probe.
        precision: Arithmetic of the forward passes.
    """
    if scores.embeddings is None:
        return None
    judge, rows = scores.judge, _first_queries(scores.judge)
    queries, documents = scores.embeddings
    task = RetrievalTask(
        "probe", [judge.task.queries[row] for row in rows], judge.task.documents, judge.relevant[rows]
    )
    found = rerank_fused(model, task, (queries[rows], documents), judge.bm25, scores.cosine_weight, precision)
    before, after = (mean_by_document(ranking, judge.source[rows]) for ranking in (found.fused, found.reranked))
    return MaxSimComparison(
        before=float(before.mean()),
        after=float(after.mean()),
        difference=paired_bootstrap(after, before),
        queries=len(rows),
        milliseconds=found.milliseconds,
    )


def _first_queries(judge: Judge) -> NDArray[np.intp]:
    """Return the places of all queries of the first documents of the judging half, so that every kind is there."""
    rows = judge.queries("judging")
    return rows[np.argsort(judge.source[rows], kind="stable")][:MOST_QUERIES]
