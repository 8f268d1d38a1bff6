"""Time and memory of a step: what the steps take, and nothing of what the loop does between them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from smoothcse._utils import peak_memory
from smoothcse.training.callbacks import StepCost, step_cost

STOP = SimpleNamespace(should_log=False, should_evaluate=True, should_save=False)
ON = SimpleNamespace(should_log=False, should_evaluate=False, should_save=False)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only as the test says."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(step_cost.time, "perf_counter", lambda: now.seconds)
    return now


def test_a_step_takes_the_median_of_the_spans_between_two_stops(clock):
    cost = StepCost("cpu")
    assert cost.step_seconds is None
    cost.on_train_begin(None, None, ON)
    for steps, seconds in ((1, 50.0), (2, 3.0), (4, 2.0)):  # of a step; the first one warms up
        for step in range(steps):
            clock.seconds += seconds
            cost.on_step_end(None, None, STOP if step == steps - 1 else ON)
        clock.seconds += 1000.0  # an evaluation
        cost.on_evaluate(None, None, ON)
        clock.seconds += 1000.0  # a checkpoint
        cost.on_save(None, None, ON)
    assert cost.step_seconds == pytest.approx(3.0)


def test_memory_is_that_of_the_steps_above_what_was_there():
    if not peak_memory._FORGET_PEAK.exists():
        pytest.skip("the system does not tell the peak of a process")
    here = bytearray(64 << 20)
    cost = StepCost("cpu")
    cost.on_train_begin(None, None, ON)
    step = bytearray(128 << 20)
    del step
    cost.on_step_end(None, None, STOP)
    evaluation = bytearray(512 << 20)
    del evaluation
    cost.on_evaluate(None, None, ON)
    cost.on_step_end(None, None, STOP)
    assert cost.peak_memory_mb == pytest.approx(134, abs=30)
    del here


def test_peak_memory_is_none_if_the_system_does_not_report_it(monkeypatch, tmp_path):
    monkeypatch.setattr(peak_memory, "_STATUS", tmp_path / "none")
    cost = StepCost("cpu")
    cost.on_train_begin(None, None, ON)
    cost.on_step_end(None, None, STOP)
    assert cost.peak_memory_mb is None
    monkeypatch.undo()
    monkeypatch.setattr(peak_memory, "_FORGET_PEAK", tmp_path / "no folder" / "none")
    cost = StepCost("cpu")
    cost.on_train_begin(None, None, ON)  # without forgetting, a peak from before would pass for one of the steps
    cost.on_step_end(None, None, STOP)
    assert cost.peak_memory_mb is None
