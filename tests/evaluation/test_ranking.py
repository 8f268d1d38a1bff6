"""Ranks and nDCG@10 against a loop, hand-worked figures and the implementation that BEIR uses."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smoothcse.evaluation.ranking import CUTOFF, queries_at_a_time, rank


@st.composite
def problems(draw, ties=True):
    q, d, r = draw(st.tuples(st.integers(1, 5), st.integers(1, 15), st.integers(1, 4)))
    if ties:
        scores = draw(arrays(np.float64, (q, d), elements=st.integers(0, 6).map(float)))
    else:
        scores = np.array([draw(st.permutations(range(d))) for _ in range(q)], dtype=np.float64)
    relevant = draw(arrays(np.int64, (q, r), elements=st.integers(0, d - 1)))
    gains = draw(arrays(np.float64, (q, r), elements=st.integers(1, 3).map(float)))
    # A repeated document keeps its first gain.
    first = [[row.tolist().index(document) for document in row] for row in relevant]
    return scores, relevant, np.take_along_axis(gains, np.array(first), axis=1)


def naive_ndcg(scores, relevant, gains):
    found = []
    for row, documents, values in zip(scores.tolist(), relevant.tolist(), gains.tolist(), strict=True):
        gain = dict(zip(documents, values, strict=True))
        # Best first; among equals, what is not relevant comes first, then the least relevant.
        order = sorted(range(len(row)), key=lambda i: (-row[i], gain.get(i, 0)))
        dcg = sum(gain.get(i, 0) / log2(place + 2) for place, i in enumerate(order[:CUTOFF]))
        ideal = sum(g / log2(place + 2) for place, g in enumerate(sorted(gain.values(), reverse=True)[:CUTOFF]))
        found.append(dcg / ideal)
    return found


@given(problems(), st.integers(1, 6))
def test_ndcg_is_that_of_sorting(problem, rows):
    scores, relevant, gains = problem
    blocks = (scores[first : first + rows] for first in range(0, len(scores), rows))
    assert rank(blocks, relevant, gains).ndcg == pytest.approx(naive_ndcg(*problem))


@given(problems(ties=False))
def test_ndcg_is_that_of_beir(problem):
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="needs the extra 'dev'")
    scores, relevant, gains = problem
    qrels = {
        str(q): {str(d): int(g) for d, g in zip(row, values, strict=True)}
        for q, (row, values) in enumerate(zip(relevant.tolist(), gains.tolist(), strict=True))
    }
    run = {str(q): {str(d): score for d, score in enumerate(row)} for q, row in enumerate(scores.tolist())}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10"}).evaluate(run)
    ours = rank([scores], relevant, gains).ndcg
    assert ours == pytest.approx([theirs[str(q)]["ndcg_cut_10"] for q in range(len(scores))])


def test_ndcg_by_hand():
    scores = np.array([[3.0, 2.0, 1.0]])
    # Gain 1 at rank 1 and gain 2 at rank 3; the other order would be ideal.
    result = rank([scores], np.array([[0, 2]]), np.array([[1.0, 2.0]]))
    assert result.ndcg == pytest.approx([(1 + 2 / 2) / (2 + 1 / log2(3))])
    assert result.ranks.tolist() == [1]


def test_a_document_below_the_tenth_rank_has_no_ndcg():
    scores = -np.arange(12.0)[None, :]
    assert rank([scores], np.array([9])).ndcg == pytest.approx([1 / log2(11)])
    assert rank([scores], np.array([10])).ndcg.tolist() == [0.0]


@pytest.mark.parametrize("documents", [3, 30])
def test_scores_that_are_not_numbers_or_all_equal_rank_last(documents):
    for value in (np.nan, 0.5):
        result = rank([np.full((2, documents), value)], np.array([0, 1]))
        assert result.ranks.tolist() == [documents] * 2
        assert result.ndcg == pytest.approx([1 / log2(documents + 1) if documents <= CUTOFF else 0.0] * 2)


def test_metrics_are_percentages_of_the_queries():
    result = rank([np.array([[2.0, 1.0], [2.0, 1.0]])], np.array([0, 1]))
    assert result.reciprocal_ranks.tolist() == [1.0, 0.5]
    assert result.metrics() == pytest.approx({"MRR": 75, "R@1": 50, "R@10": 100, "nDCG@10": 50 + 50 / log2(3)})


def test_blocks_shrink_as_the_documents_grow():
    assert queries_at_a_time(10) == 1024
    assert queries_at_a_time(10, most=7) == 7
    assert queries_at_a_time(1 << 20) == 16
    assert queries_at_a_time(1 << 40) == 1
