"""What a step takes: time and memory, without the evaluations and the writing between steps."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse._utils.peak_memory import PeakMemory


class StepCost(TrainerCallback):
    """Measures the steps in spans, from one stop of the loop (log, evaluation, checkpoint) to the next.

    A device works on while the host prepares the next step, so that single steps cannot be timed without making each
    wait. A span ends where the loop waits anyway, and holds everything that a step needs: the batch, both passes, the
    optimizer. It comes last of the callbacks, so that their work at a stop is not in the next span.

    Args:
        device_type: ``cpu``, ``cuda`` or ``mps``; the memory in use when this is made does not count.
    """

    def __init__(self, device_type: str) -> None:
        self._on_gpu = device_type == "cuda"
        self._memory = PeakMemory(device_type)
        self._seconds: list[float] = []  # per step, of each span
        self._peaks: list[int | None] = []
        self._steps = 0
        self._started = 0.0

    @property
    def step_seconds(self) -> float | None:
        """Median over the spans of a step's seconds; None before the first has ended."""
        return statistics.median(self._seconds) if self._seconds else None

    @property
    def peak_memory_mb(self) -> float | None:
        """Highest memory of any step in millions of bytes; None where the system does not tell it."""
        peaks = [peak for peak in self._peaks if peak is not None]
        return max(peaks) / 1e6 if peaks else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin the first span."""
        self._begin()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """End a span where the loop is about to stop."""
        self._steps += 1
        if control.should_log or control.should_evaluate or control.should_save:
            self._end()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Begin a span behind the stop."""
        self._begin()

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin a span behind the stop."""
        self._begin()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Begin a span behind the stop."""
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
