"""A run whose best step is selected by the user's own labels."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.own_labels import load_own_labels
from smoothcse.report.read import read_run
from smoothcse.report.samples import draw_samples
from smoothcse.runs.manifest import read_manifest
from smoothcse.training import make_config, train
from smoothcse.training.callbacks import Metrics
from smoothcse.training.selection import choose_criterion
from tiny import sentences

QUIET = Console(quiet=True)
TEXTS = sentences(12)
LABELS = {
    "queries": ({"query": TEXTS[0], "document": TEXTS[1]}, {"query": TEXTS[2], "document": TEXTS[3]}),
    "pairs": tuple({"sentence1": TEXTS[n], "sentence2": TEXTS[n + 4], "score": n} for n in range(4)),
    "triplets": tuple({"anchor": TEXTS[n], "positive": TEXTS[n + 3], "negative": TEXTS[n + 6]} for n in range(3)),
}
CRITERIA = {
    "queries": "2 queries of labels.jsonl, MRR x 100",
    "pairs": "4 pairs of labels.jsonl, Spearman x 100",
    "triplets": "3 triplets of labels.jsonl, accuracy x 100",
}


def config_in(folder, corpus, model, rows):
    labels = folder / "labels.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return make_config(
        {
            "corpus": str(corpus),
            "model": model,
            "dev": str(labels),
            "output": str(folder / "run"),
            "batch_size": 8,
            "learning_rate": 1e-3,
            "eval_steps": 2,
            "log_steps": 1,
            "max_steps": 4,
            "precision": "fp32",
        }
    )


def check(config, result, kind):
    labels, manifest = load_own_labels(config.dev), read_manifest(result.folder)
    assert result.criterion == manifest.result.criterion == CRITERIA[kind]
    assert result.best_score == pytest.approx(labels.score(load_encoder(result.best, device="cpu")).value)
    assert manifest.dev_fingerprint == labels.fingerprint
    assert labels.notes
    assert set(labels.notes) <= set(manifest.warnings)


@pytest.mark.parametrize("kind", ["queries", "pairs"])
def test_own_labels_select_the_best_step(kind, tmp_path, corpus_file, tiny_bert):
    config = config_in(tmp_path, corpus_file, tiny_bert, LABELS[kind]).replace(max_steps=2)
    check(config, train(config, console=QUIET), kind)


def test_a_run_resumes_with_the_same_labels_alone(tmp_path, corpus_file, tiny_bert, monkeypatch):
    config = config_in(tmp_path, corpus_file, tiny_bert, LABELS["triplets"])
    on_log = Metrics.on_log

    def dies(self, args, state, control, logs, **kwargs):
        on_log(self, args, state, control, logs, **kwargs)
        if state.global_step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "on_log", dies)
        with pytest.raises(KeyboardInterrupt):
            train(config, console=QUIET)
    config_in(tmp_path, corpus_file, tiny_bert, LABELS["triplets"][1:])
    with pytest.raises(SmoothCSEError, match="its dev data has changed"):
        train(config, resume=True, console=QUIET)
    config_in(tmp_path, corpus_file, tiny_bert, LABELS["triplets"])
    check(config, train(config, resume=True, console=QUIET), "triplets")
    missing = draw_samples(read_run(config.output)).missing
    assert missing == {"gold": "This run was not selected by STS-B dev, so there are no scores to plot."}


def test_a_file_that_is_missing_is_told(tmp_path, corpus_file, tiny_bert):
    config = config_in(tmp_path, corpus_file, tiny_bert, ()).replace(dev=str(tmp_path / "none.csv"))
    with pytest.raises(SmoothCSEError, match=r"The labels \S+none\.csv do not exist; give an existing file"):
        choose_criterion(config, corpus=None)
