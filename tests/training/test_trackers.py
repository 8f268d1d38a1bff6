"""Trackers that ``report_to`` names get the curves of ``metrics.jsonl``, the noise share included."""

from __future__ import annotations

import pytest
from rich.console import Console

from smoothcse.runs.folder import RunFolder
from smoothcse.training import make_config, train

pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

CURVES = {
    "train/loss": "loss",
    "train/noise_share": "noise_share",
    "train/ratio": "ratio",
    "eval/dev_score": "eval_dev_score",
    "eval/alignment": "eval_alignment",
    "eval/uniformity": "eval_uniformity",
}


def test_tensorboard_shows_the_metrics_of_the_run(tiny_bert, corpus_file, tmp_path, monkeypatch):
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    fields = {"corpus": str(corpus_file), "model": tiny_bert, "output": str(tmp_path / "run"), "precision": "fp32"}
    steps = {"batch_size": 8, "noise_count": 16, "max_steps": 4, "eval_steps": 2, "log_steps": 1}
    train(make_config({**fields, **steps, "trainer_args": {"report_to": "tensorboard"}}), console=Console(quiet=True))
    shown = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    shown.Reload()
    metrics = RunFolder(tmp_path / "run").metrics()
    for tag, name in CURVES.items():
        written = {entry["step"]: entry[name] for entry in metrics if name in entry}
        points = {event.step: event.value for event in shown.Scalars(tag)}
        assert points == pytest.approx(written, rel=1e-5), tag
        assert len(points) >= 2
    for entry in metrics:
        if "ratio" in entry:
            assert entry["ratio"] * (1 - entry["noise_share"]) == pytest.approx(1)
