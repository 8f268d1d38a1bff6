"""The judge splits the probe by documents and averages over each document's queries."""

from __future__ import annotations

import numpy as np
import pytest

from smoothcse.evaluation.fusion import COSINE_WEIGHT, WEIGHTS
from smoothcse.evaluation.probe import document_id, make_probe
from smoothcse.experiments.adapt import judge as module
from smoothcse.experiments.adapt.judge import Judge
from smoothcse.experiments.statistics import Difference


def documents(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    return [
        " ".join(f"Sentence {row}-{n} names {' '.join(map(str, rng.integers(1000, 9999, 6)))}." for n in range(8))
        for row in range(count)
    ]


@pytest.fixture(scope="module")
def judge() -> Judge:
    titles = [f"Names of {row}" if row % 2 else None for row in range(40)]
    return Judge(make_probe(documents(40), titles=titles, held_out=20))


@pytest.fixture
def scores(judge, monkeypatch):
    def draw(model, texts, kind, precision):
        return np.stack([np.random.default_rng(int(document_id(text), 16)).normal(size=16) for text in texts])

    monkeypatch.setattr(module, "encode", draw)
    return judge.score(None, "fp32")


def test_no_document_is_in_both_halves(judge):
    selecting, judging = (set(judge.relevant[judge.queries(half)]) for half in ("selecting", "judging"))
    assert not selecting & judging
    assert (len(selecting), len(judging)) == (10, 10) == (judge.documents("selecting"), judge.documents("judging"))
    assert len(judge.queries("selecting")) + len(judge.queries("judging")) == len(judge.task.queries)


@pytest.mark.parametrize("half", ["selecting", "judging"])
@pytest.mark.parametrize("by", ["cosine", "bm25", "fused"])
def test_a_document_has_the_mean_of_its_queries(judge, scores, half, by):
    ranking = getattr(scores.rankings, by)
    found: dict[int, list[float]] = {}
    for row in judge.queries(half):
        found.setdefault(int(judge.relevant[row]), []).append(100 / ranking.ranks[row])
    expected = [np.mean(found[document]) for document in sorted(found)]
    np.testing.assert_allclose(scores.by_document(ranking, half), expected)


def test_selection_is_by_the_selecting_half_alone(judge, scores):
    assert judge.selection(None, "fp32") == pytest.approx(scores.selection)
    assert scores.selection == pytest.approx(scores.by_document(scores.rankings.cosine, "selecting").mean())


@pytest.mark.parametrize("established", [True, False])
def test_the_weight_is_the_best_one_of_the_selecting_half_if_that_is_established(
    judge, scores, monkeypatch, established
):
    low = 1.0 if established else -1.0
    monkeypatch.setattr(module, "paired_bootstrap", lambda *_: Difference(2.0, low, 5.0, 10))
    chosen = judge.score(None, "fp32").cosine_weight
    means = {}
    for weight in WEIGHTS:
        monkeypatch.setattr(Judge, "_choose_weight", lambda self, queries, documents, weight=weight: weight)
        fused = judge.score(None, "fp32").rankings.fused
        means[weight] = fused.reciprocal_ranks[judge.queries("selecting")].mean()
    if established:
        assert means[chosen] == pytest.approx(max(means.values()))
    else:
        assert chosen == COSINE_WEIGHT


def test_passages_of_one_document_are_in_one_half_and_count_once(monkeypatch):
    probe = make_probe(documents(40), sources=[row // 4 for row in range(40)], held_out=24, held_out_sources=6)
    judge = Judge(probe)
    halves = [set(judge.source[judge.queries(half)]) for half in ("selecting", "judging")]
    assert not halves[0] & halves[1]
    assert (judge.documents("selecting"), judge.documents("judging")) == (3, 3)
    assert len(judge.queries("selecting")) == 3 * 4 * 2
    monkeypatch.setattr(module, "encode", lambda model, texts, kind, precision: np.ones((len(texts), 4)))
    scores = judge.score(None, "fp32")
    assert len(scores.by_document(scores.rankings.cosine, "judging")) == 3
