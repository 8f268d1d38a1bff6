"""A callback that measures time and memory of a step, without the evaluations and checkpoints between steps."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse._utils.peak_memory import PeakMemory


class StepCost(TrainerCallback):
    """Callback that measures steps in spans, from one stop of the loop (log, evaluation, checkpoint) to the next.

    A device computes while the CPU prepares the next step, so timing single steps would make each of them wait. A span
    ends where the loop waits anyway, and covers the whole of its steps: the batch, both passes and the optimiser. This
    callback must come last, so that the work of the others at a stop is not part of the next span.

    Args:
        device_type: ``cpu``, ``cuda`` or ``mps``. Memory in use at construction does not count.
    """

    def __init__(self, device_type: str) -> None:
        self._on_gpu = device_type == "cuda"
        self._memory = PeakMemory(device_type)
        self._seconds: list[float] = []  # seconds per step, one value per span
        self._peaks: list[int | None] = []
        self._steps = 0
        self._started = 0.0

    @property
    def step_seconds(self) -> float | None:
        """Duration of a step, median over the spans; None before the end of the first span."""
        return statistics.median(self._seconds) if self._seconds else None

    @property
    def peak_memory_mb(self) -> float | None:
        """Peak memory of a step in millions of bytes; None if the system does not report it."""
        peaks = [peak for peak in self._peaks if peak is not None]
        return max(peaks) / 1e6 if peaks else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the first span."""
        self._begin()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End a span before the loop stops."""
        self._steps += 1
        if control.should_log or control.should_evaluate or control.should_save:
            self._end()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start a span after the stop."""
        self._begin()

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start a span after the stop."""
        self._begin()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start a span after the stop."""
        self._begin()

    def _begin(self) -> None:
        self._steps = 0
        self._memory.restart()
        self._started = time.perf_counter()

    def _end(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()
        self._seconds.append((time.perf_counter() - self._started) / self._steps)
        self._peaks.append(self._memory.bytes())
