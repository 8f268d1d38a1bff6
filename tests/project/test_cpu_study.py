"""Question 4 of the smoothing study is run by a script: the start is scored once, and no models are kept."""

from __future__ import annotations

import json
import runpy
import sys

import pytest
import yaml

from repository import REPOSITORY
from smoothcse.evaluation.own_labels import OwnLabels
from smoothcse.experiments import summary

SCRIPT = REPOSITORY / "docs" / "results" / "smoothing" / "cpu_study.py"


@pytest.fixture
def study(tmp_path, tiny_bert):
    """The study of question 4 in small: six documents, three arms, two steps, two seeds."""
    words = ["red blue green", "one two three", "cat dog bird", "sun moon star", "tea milk water", "north south east"]
    domain = tmp_path / "domain"
    (domain / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"d{n}", "text": f"{text} {text}"}) for n, text in enumerate(words)]
    (domain / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": f"q{n}", "text": text}) for n, text in enumerate(words)]
    (domain / "queries.jsonl").write_text("\n".join(lines))
    judged = [f"q{n}\td{n}\t1" for n in range(len(words))]
    (domain / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]))
    values = yaml.safe_load(SCRIPT.with_name("study-4.yaml").read_text(encoding="utf-8"))
    values["base"] |= {"corpus": str(domain / "corpus.jsonl"), "model": str(tiny_bert), "dev": str(domain)}
    values["base"] |= {"batch_size": 2, "max_steps": 2, "eval_steps": 2}
    values["variants"] = {name: values["variants"][name] for name in ("infonce", "gs", "share-0.4")}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(values | {"seeds": [0, 1]}, sort_keys=False))
    return file


def test_the_start_is_scored_once_and_no_models_are_kept(study, tmp_path, monkeypatch):
    scored, score = [], OwnLabels.score

    def recorded(self, model, **options):
        scored.append(options)
        return score(self, model, **options)

    monkeypatch.setattr(OwnLabels, "score", recorded)
    monkeypatch.setattr(summary, "_plot", lambda *_: None)
    output = tmp_path / "out"
    arguments = [str(study), "--output", str(output), "--seed", "1", "--only", "infonce", "share-0.4"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    runs = [json.loads(line) for line in (output / "runs.jsonl").read_text(encoding="utf-8").splitlines()]
    arms = [(run["point"]["views"], run["variant"], run["seed"]) for run in runs]
    assert arms == [(views, arm, 1) for views in ("crops", "dropout") for arm in ("infonce", "share-0.4")]
    assert scored == [{"precision": "auto"}] * (1 + len(runs))
    assert len({run["start"] for run in runs}) == 1
    folders = [folder for folder in (output / "runs").rglob("seed-1") if folder.is_dir()]
    assert len(folders) == 4
    assert not any((folder / name).exists() for folder in folders for name in ("best", "last", "checkpoints"))
