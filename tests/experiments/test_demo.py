"""The demo: what it trains on, what it compares, and what it prints, with a tiny model and few documents."""

from __future__ import annotations

import inspect
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from smoothcse.cli.demo import demo as command
from smoothcse.corpus.python_docs import DocPair, Docstring
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.ranking import Ranking
from smoothcse.evaluation.retrieval import Rankings, evaluate_retrieval, python_docs_task
from smoothcse.experiments import demo
from smoothcse.experiments.demo_scores import DemoScores
from tiny import sentences

SENTENCES = [f"{text[0].upper()}{text[1:]}." for text in sentences(4 * 60)]
PAIRS = [
    DocPair(f"module.thing_{n}", f"Query {n}: {query}", " ".join(details))
    for n, (query, *details) in enumerate(zip(*[iter(SENTENCES)] * 4, strict=True))
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory, tiny_bert):
    """Output folder and printed text of a demo of two steps, with what it scored."""
    folder = tmp_path_factory.mktemp("demo")
    start = str(folder / "start")
    load_encoder(tiny_bert).save_pretrained(start)
    out, found = io.StringIO(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMOOTHCSE_CACHE", str(folder / "cache"))  # python-docs is another text here
        patch.setattr("smoothcse.corpus.python_docs.labelled_pairs", lambda: PAIRS)
        patch.setattr(demo, "PACKAGED_MINILM", start)
        patch.setattr(demo, "iter_docstrings", lambda: [Docstring(pair.name, pair.query) for pair in PAIRS])
        score = demo._score
        patch.setattr(demo, "_score", lambda models: found.append(score(models)) or found[0])
        demo.run_demo(folder / "demo", 2, Console(file=out, width=80))
        task = python_docs_task()
    return SimpleNamespace(folder=folder / "demo", start=start, text=out.getvalue(), scores=found[0], task=task)


def ranking(ranks) -> Ranking:
    return Ranking(np.array(ranks), np.ones(len(ranks)))


def scores(start, adapted, fused=None) -> DemoScores:
    """Scores with these ranks; fused, the start has the rank 1 everywhere."""
    best = ranking([1] * len(start))
    before = Rankings(ranking(start), ranking([1] * len(start)), best)
    after = Rankings(ranking(adapted), ranking([1] * len(start)), ranking(fused) if fused else best)
    return DemoScores({"start": before, "control": before, "adapted": after})


def test_both_runs_start_from_the_own_pooling_and_differ_only_in_their_views(tmp_path):
    control, adapted = (run.config for run in demo.plan_demo(tmp_path, 7).runs)
    assert (control.views, adapted.views) == ({"dropout": 1.0}, {"sentence": 1.0})
    assert adapted.replace(views="dropout") == control
    assert (adapted.pooling, adapted.projection, adapted.noise_count, adapted.dev) == (None, False, 0, "none")
    assert adapted.max_steps == control.max_steps == 7


def test_the_command_has_the_steps_of_the_demo():
    assert inspect.signature(command).parameters["steps"].default == demo.STEPS


def test_no_query_is_trained_on(shown):
    lines = (shown.folder / "python-docs.jsonl").read_text(encoding="utf-8").splitlines()
    trained = [json.loads(line)["text"] for line in lines]
    assert len(trained) > 50
    assert set(trained) <= {pair.document for pair in PAIRS}
    assert not any(pair.query in text for pair in PAIRS for text in trained)
    for name in ("control", "adapted"):
        config = json.loads((shown.folder / name / "run.json").read_text())["config"]
        assert config["corpus"] == str(shown.folder / "python-docs.jsonl")


def test_the_start_and_the_last_step_of_each_run_are_scored(shown):
    for name, folder in [("start", shown.start), *((n, shown.folder / n / "last") for n in ("control", "adapted"))]:
        expected = evaluate_retrieval(load_encoder(folder), shown.task)
        assert shown.scores.ranking(name, "cosine").metrics()["MRR"] == pytest.approx(expected["MRR"], abs=1e-6)
        assert f"{expected['MRR']:.1f}" in shown.text


def test_a_demo_fits_eighty_columns_and_ends_with_the_next_commands(shown):
    results, commands = shown.text.split("Next, try")
    assert max(map(len, results.splitlines())) <= 80
    rows = [line.split("  ")[0].strip() for line in results.splitlines()]
    names = ["start", "control", "adapted"]
    assert [row for row in rows if row in {"BM25", *names, *(f"{name} + BM25" for name in names)}] == [
        "BM25", *names, *(f"{name} + BM25" for name in names),
    ]  # fmt: skip
    assert all(question.split()[0] in results for question in demo.QUESTIONS)
    assert f"{shown.folder / 'adapted' / 'last'}" in results
    assert "smoothcse adapt my-docs/ --model" in commands
    assert "--pooling cls" in commands
    assert not (shown.folder / "adapted" / "best").exists()  # label-free selection has no say
    assert (shown.folder / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_differences_are_those_of_paired_queries():
    found = scores([2, 2, 4, 4] * 25, [1, 2, 2, 4] * 25)
    assert found.difference("adapted", "cosine").mean == pytest.approx((50 + 0 + 25 + 0) / 4)
    assert found.difference("control", "cosine").mean == 0


@pytest.mark.parametrize(
    ("start", "adapted", "fused", "expected"),
    [
        ([2] * 50, [1] * 50, None, "is above its own pooling: MRR +50.00"),
        ([1] * 50, [2] * 50, None, "is below its own pooling: MRR -50.00"),
        ([1, 2] * 25, [2, 1] * 25, None, "No difference was established"),
        ([2] * 50, [1] * 50, [2] * 50, "-50.00 [-50.00, -50.00] with BM25."),
        ([2] * 50, [1] * 50, None, "with BM25 (the interval contains zero)."),
    ],
)
def test_the_verdict_says_what_the_intervals_say(start, adapted, fused, expected):
    assert expected in scores(start, adapted, fused).verdict()


def test_a_demo_of_one_query_has_no_interval(tmp_path):
    found = scores([2], [1])
    found.plot(tmp_path / "scores.png")
    assert "No difference was established" in found.verdict()
