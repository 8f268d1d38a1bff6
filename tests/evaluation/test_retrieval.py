from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation import retrieval
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.fusion import fuse
from smoothcse.evaluation.ranking import rank, retrieval_scores
from smoothcse.evaluation.retrieval import (
    RetrievalTask,
    compare_with_bm25,
    evaluate_retrieval,
    last_everywhere,
    python_docs_task,
    rank_of_relevant,
)


@st.composite
def retrieval_problems(draw):
    q, d, k = draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)))
    # Small whole numbers: parallel vectors, hence exact ties, are common and everything else is far apart.
    vectors = [draw(arrays(np.float32, (rows, k), elements=st.integers(-3, 3).map(np.float32))) for rows in (q, d)]
    return *vectors, draw(arrays(np.int64, q, elements=st.integers(0, d - 1)))


def naive_ranks(queries, documents, relevant):
    def cosine(a, b):
        norm = np.linalg.norm(a.astype(float)) * np.linalg.norm(b.astype(float))
        return float(a.astype(float) @ b.astype(float)) / norm if norm else 0.0

    ranks = []
    for query, right in zip(queries, relevant, strict=True):
        scores = [round(cosine(query, document), 5) for document in documents]
        # Best first; among equals the right document comes last.
        order = sorted(range(len(documents)), key=lambda i: (-scores[i], i == right))
        ranks.append(order.index(right) + 1)
    return ranks


@given(retrieval_problems(), st.integers(1, 10))
def test_ranks_are_those_of_sorting(problem, chunk):
    assert rank_of_relevant(*problem, chunk=chunk).tolist() == naive_ranks(*problem)


@given(retrieval_problems(), st.floats(0.01, 100), st.floats(0.01, 100))
def test_ranks_ignore_lengths(problem, query_scale, document_scale):
    queries, documents, relevant = problem
    scaled = np.float32(query_scale) * queries, np.float32(document_scale) * documents
    np.testing.assert_array_equal(rank_of_relevant(*scaled, relevant), rank_of_relevant(*problem))


@given(retrieval_problems(), st.data())
def test_of_several_right_documents_the_best_one_is_ranked_among_the_others(problem, data):
    queries, documents, _ = problem
    places = st.integers(0, len(documents) - 1)
    relevant = np.array([data.draw(st.lists(places, min_size=3, max_size=3)) for _ in queries])
    ranks = rank_of_relevant(queries, documents, relevant)
    for query, row, best in zip(queries, relevant.tolist(), ranks.tolist(), strict=True):
        wrong = [place for place in range(len(documents)) if place not in row]
        alone = [naive_ranks([query], documents[[*wrong, place]], [len(wrong)])[0] for place in row]
        assert best == min(alone)


def test_embeddings_all_alike_score_what_the_diagnosis_looks_for():
    task = RetrievalTask("t", ["a", "b"], ["x", "y", "z"], np.array([[0, 0], [1, 2]]))
    ranks = rank_of_relevant(np.ones((2, 4)), np.ones((3, 4)), task.relevant)
    assert ranks.tolist() == [3, 2]
    assert retrieval_scores(ranks)["MRR"] == pytest.approx(last_everywhere(task))


def test_scores_are_percentages():
    scores = retrieval_scores(np.array([1, 2, 10, 20]))
    assert scores == pytest.approx({"MRR": 100 * (1 + 0.5 + 0.1 + 0.05) / 4, "R@1": 25.0, "R@10": 75.0})


def test_perfect_embeddings_score_100():
    ranks = rank_of_relevant(np.eye(50, dtype=np.float32), np.eye(50, dtype=np.float32), np.arange(50))
    assert retrieval_scores(ranks) == {"MRR": 100.0, "R@1": 100.0, "R@10": 100.0}


@pytest.mark.parametrize("jitter", [0.0, 1e-5])
def test_collapsed_embeddings_rank_last(jitter):
    rng = np.random.default_rng(0)
    point = rng.normal(size=384)
    queries, documents = ((point + jitter * rng.normal(size=(300, 384))).astype(np.float32) for _ in range(2))
    assert rank_of_relevant(queries, documents, np.arange(300)).tolist() == [300] * 300


def test_random_embeddings_score_at_chance():
    rng = np.random.default_rng(0)
    queries, documents = rng.normal(size=(2, 1000, 64)).astype(np.float32)
    scores = retrieval_scores(rank_of_relevant(queries, documents, np.arange(1000)))
    assert scores["MRR"] < 2
    assert scores["R@10"] < 3


def test_embeddings_that_are_not_numbers_rank_last():
    broken = np.full((3, 4), np.nan, dtype=np.float32)
    assert rank_of_relevant(broken, np.ones((7, 4), dtype=np.float32), np.arange(3)).tolist() == [7, 7, 7]


@pytest.mark.parametrize("relevant", [[0], [0, 5], [-1, 0]])
def test_a_task_that_points_nowhere_is_refused(relevant):
    with pytest.raises(SmoothCSEError, match="'relevant'"):
        RetrievalTask("broken", ["a", "b"], ["x", "y"], np.array(relevant))


def test_a_task_without_queries_is_refused():
    with pytest.raises(SmoothCSEError, match="at least one"):
        RetrievalTask("empty", [], ["x"], np.array([], dtype=np.int64))


def test_the_python_docs_make_a_task():
    task = python_docs_task()
    assert len(task.queries) == len(task.documents) == len(task.relevant) > 1_500


@pytest.fixture
def letters(monkeypatch):
    """Stands in for a model: the embedding of a text counts its letters."""

    def encode(model, sentences, **kwargs):
        counts = [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in sentences]
        return np.array(counts, dtype=np.float32).reshape(len(sentences), 26)

    monkeypatch.setattr(retrieval, "encode", encode)


@pytest.mark.usefixtures("letters")
def test_a_model_is_scored_on_a_task():
    task = RetrievalTask("letters", ["aab", "ccc", "zz"], ["cc", "zzy", "baa"], np.array([2, 0, 0]))
    scores = evaluate_retrieval(None, task, batch_size=2, chunk=2)
    ndcg = 100 * (1 + 1 + 1 / 2) / 3  # ranks 1, 1 and 3: 1 / log2(1 + 3)
    expected = {"MRR": 100 * (1 + 1 + 1 / 3) / 3, "R@1": 200 / 3, "R@10": 100.0, "nDCG@10": ndcg}
    assert scores == pytest.approx(expected)


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("rows", [1, 2, 1024])
def test_meaning_words_and_both_stand_side_by_side(rows, monkeypatch):
    monkeypatch.setattr(retrieval, "queries_at_a_time", lambda documents, most=1024: min(rows, most))
    documents = ["cc zz", "zzy", "baa ab", "cab"]
    task = RetrievalTask("letters", ["aab cab", "cc", "zz"], documents, np.array([[2, 3], [0, 0], [1, 1]]))
    bm25 = BM25(documents, "none")
    found = compare_with_bm25(None, task, bm25, cosine_weight=0.6)
    assert found.cosine.metrics() == pytest.approx(evaluate_retrieval(None, task))
    words = bm25.scores(task.queries)
    assert found.bm25.metrics() == rank([words], task.relevant).metrics()
    cosines = np.concatenate(list(retrieval.cosine_blocks(*retrieval.embed_task(None, task))))
    assert found.fused.metrics() == rank([fuse(cosines, words, 0.6)], task.relevant).metrics()
    assert compare_with_bm25(None, task, bm25, cosine_weight=1).fused.metrics() == found.cosine.metrics()
    assert compare_with_bm25(None, task, bm25, cosine_weight=0).fused.metrics() == found.bm25.metrics()


def test_a_gain_belongs_to_each_relevant_document():
    with pytest.raises(SmoothCSEError, match="one gain for each relevant document"):
        RetrievalTask("broken", ["a"], ["x", "y"], np.array([[0, 1]]), np.array([1.0]))


@pytest.mark.slow
def test_words_and_meaning_together_are_better_than_either(minilm, shared):
    """The order of issue 24's table on a sample of the manual pages."""
    from sentence_transformers import SentenceTransformer

    with (shared / "data" / "manpages" / "pages.jsonl").open(encoding="utf-8") as file:
        pages = [json.loads(line) for line in file][:300]
    documents = [page["text"][:400] for page in pages]
    task = RetrievalTask("manpages", [page["summary"] for page in pages], documents, np.arange(len(pages)))
    found = compare_with_bm25(SentenceTransformer(minilm, device="cpu"), task, BM25(documents))
    bm25, cosine, fused = (ranking.metrics()["MRR"] for ranking in (found.bm25, found.cosine, found.fused))
    assert fused > cosine + 2
    assert fused > bm25 + 2
