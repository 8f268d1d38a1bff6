"""Geometry: which sentences and pairs are measured, and figures equal to loops over their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation import geometry
from smoothcse.evaluation.geometry import (
    GeometryTask,
    evaluate_geometry,
    labelled_geometry,
    python_docs_geometry,
    stsb_dev_geometry,
)
from smoothcse.evaluation.sts_tasks import STSTask, Subset
from smoothcse.views.embed import dropout_views
from tiny import save_tiny_model, sentences

TEXTS = tuple(sentences(12))


def fake_encode(monkeypatch, table: np.ndarray) -> None:
    monkeypatch.setattr(geometry, "encode", lambda model, texts, **options: table[: len(texts)].astype(np.float32))


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / math.sqrt(float(vector @ vector))


# ---- what is measured -------------------------------------------------------------------------------------


def test_positives_are_pairs_scored_above_4_and_sentences_count_once():
    subset = Subset("dev", (*TEXTS[:4], TEXTS[0]), (*TEXTS[4:8], TEXTS[9]), (4.001, 4.0, 5.0, 0.0, 4.2))
    more = Subset("more", TEXTS[8:11], (TEXTS[11], TEXTS[11], TEXTS[1]), (1.0, 2.0, 4.75))
    task = labelled_geometry(STSTask("STSBenchmark-dev", (subset, more)))
    assert sorted(task.sentences) == sorted(TEXTS)
    assert [(task.sentences[i], task.sentences[j]) for i, j in task.positives] == [
        (TEXTS[0], TEXTS[4]),
        (TEXTS[2], TEXTS[6]),
        (TEXTS[0], TEXTS[9]),
        (TEXTS[10], TEXTS[1]),
    ]


def test_stsb_dev_itself(shared):
    lines = (shared / "data" / "sts" / "STSBenchmark" / "sts-dev.csv").read_text(encoding="utf-8").split("\n")
    rows = [line.split("\t") for line in lines if line]
    task = stsb_dev_geometry(shared / "data" / "sts")
    assert len(task.positives) == sum(float(row[4]) > 4 for row in rows) == 208
    assert len(task.sentences) == len({" ".join(text.split()) for row in rows for text in row[5:7]})
    first = next(row for row in rows if float(row[4]) > 4)
    assert [task.sentences[row] for row in task.positives[0]] == [" ".join(text.split()) for text in first[5:7]]


def test_the_sample_of_the_documentation_is_fixed_and_unlabelled(monkeypatch):
    monkeypatch.setattr("smoothcse.corpus.python_docs.iter_sentences", lambda: iter(sentences(200)))
    task = python_docs_geometry(50)
    assert task == python_docs_geometry(50)
    assert (len(set(task.sentences)), task.positives) == (50, None)
    assert task.sentences != python_docs_geometry(50, seed=1).sentences


@pytest.mark.parametrize(
    ("texts", "positives", "expected"),
    [
        (TEXTS[:10], None, "t has 10 sentences, 10 of them distinct"),
        ((*TEXTS, TEXTS[0]), None, "t has 13 sentences, 12 of them distinct"),
        (TEXTS, (), "t has no pair scored above 4"),
    ],
)
def test_too_little_to_measure_on_is_refused(texts, positives, expected):
    with pytest.raises(SmoothCSEError, match=expected):
        GeometryTask("t", texts, positives)


# ---- the figures ------------------------------------------------------------------------------------------


def test_figures_are_those_of_loops(monkeypatch):
    table = np.random.default_rng(0).normal(size=(12, 5)) + 0.5
    fake_encode(monkeypatch, table)
    positives = ((0, 1), (3, 7), (2, 2))
    score = evaluate_geometry(None, GeometryTask("t", TEXTS, positives))
    x = [unit(row) for row in table]
    pairs = [(i, j) for i in range(12) for j in range(i)]
    near = [sorted(range(12), key=lambda j: -(x[i] @ x[j]) if j != i else 9.0)[:10] for i in range(12)]
    deviations = [sum(j in row for row in near) - 10 for j in range(12)]
    singular = np.linalg.svd(table, compute_uv=False)
    p = singular / singular.sum()
    assert score.metrics == pytest.approx(
        {
            "alignment": sum(float((x[i] - x[j]) @ (x[i] - x[j])) for i, j in positives) / 3,
            "uniformity": math.log(sum(math.exp(-2 * float((x[i] - x[j]) @ (x[i] - x[j]))) for i, j in pairs) / 66),
            "mean_cosine": sum(float(x[i] @ x[j]) for i, j in pairs) / 66,
            "effective_rank": math.exp(-sum(q * math.log(q) for q in p)),
            "hubness": np.mean(np.power(deviations, 3)) / np.mean(np.power(deviations, 2)) ** 1.5,
        },
        rel=1e-4,
    )
    assert (score.task, score.rows, score.main) == ("t", 12, score.metrics["uniformity"])
    assert score.diagnosis is None


def test_orthonormal_embeddings_have_known_figures(monkeypatch):
    fake_encode(monkeypatch, 3.0 * np.eye(12))
    metrics = evaluate_geometry(None, GeometryTask("t", TEXTS, ((0, 1),))).metrics
    known = {"alignment": 2.0, "uniformity": -4.0, "mean_cosine": 0.0, "effective_rank": 12.0}
    assert {name: metrics[name] for name in known} == pytest.approx(known, abs=1e-5)


def test_without_labels_two_dropout_views_are_the_positives(tiny_bert):
    model = load_encoder(tiny_bert, "cls", device="cpu")
    before = torch.get_rng_state()
    score = evaluate_geometry(model, GeometryTask("t", TEXTS))
    assert not model.training
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
    firsts, seconds = dropout_views(model, TEXTS)
    distances = (torch.nn.functional.normalize(firsts) - torch.nn.functional.normalize(seconds)).square().sum(dim=1)
    assert score.metrics["alignment"] == pytest.approx(float(distances.mean()), rel=1e-5)
    assert score.metrics["alignment"] > 1e-3
    assert score == evaluate_geometry(model, GeometryTask("t", TEXTS))
    quiet = torch.from_numpy(encode(model, TEXTS))  # the other figures know nothing of dropout
    assert score.metrics["mean_cosine"] == pytest.approx(float(geometry.mean_cosine(quiet)), rel=1e-5)


def test_a_model_without_dropout_is_told_that_its_views_are_one(tmp_path):
    folder = save_tiny_model(tmp_path / "m", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    score = evaluate_geometry(load_encoder(folder, device="cpu"), GeometryTask("t", TEXTS))
    assert score.metrics["alignment"] == pytest.approx(0.0, abs=1e-6)
    assert "no active dropout" in (score.diagnosis or "")


@pytest.mark.parametrize(
    ("fill", "expected", "figures"), [(0.25, "collapsed", 5), (0.0, "collapsed", 5), (math.nan, "not finite", 0)]
)
def test_a_broken_model_is_told_so(monkeypatch, fill, expected, figures):
    fake_encode(monkeypatch, np.full((12, 4), fill))
    score = evaluate_geometry(None, GeometryTask("t", TEXTS, ((0, 1),)))
    assert expected in (score.diagnosis or "")
    assert len(score.metrics) == figures
    assert all(math.isfinite(figure) for figure in (score.main, *score.metrics.values()))
