"""A run that is interrupted after a step and resumed."""

from __future__ import annotations

import pytest
from rich.console import Console

from smoothcse.runs.result import TrainResult
from smoothcse.training import TrainConfig, train
from smoothcse.training.callbacks import Metrics


def train_interrupted(config: TrainConfig, step: int, monkeypatch: pytest.MonkeyPatch) -> TrainResult:
    """Train, interrupt the run when the loss of a step has been logged, resume it, and return its result."""
    original = Metrics.on_log

    def die(self, args, state, control, logs, **kwargs):
        original(self, args, state, control, logs, **kwargs)
        if state.global_step == step and "loss" in logs:
            raise KeyboardInterrupt

    monkeypatch.setattr(Metrics, "on_log", die)
    with pytest.raises(KeyboardInterrupt):
        train(config, console=Console(quiet=True))
    monkeypatch.setattr(Metrics, "on_log", original)
    return train(config, resume=True, console=Console(quiet=True))
