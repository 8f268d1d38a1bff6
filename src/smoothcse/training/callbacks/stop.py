"""A callback that stops a run on a signal, after the current step and with a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopOnSignal(TrainerCallback):
    """Callback that ends the training cleanly when the process receives a signal.

    The current step (or evaluation) is finished, and a log entry and a checkpoint are written from which the run can
    be resumed. A second signal stops at once and leaves the last checkpoint.

    Several ranks must stop at the same step. They agree on it when they log, since agreeing at each step would make
    every step wait for the device.

    Attributes:
        received: Name of the received signal, or None.
    """

    def __init__(self) -> None:
        self.received: str | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals while the context is open; outside of the main thread, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._take) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Make the trainer log, save and stop."""
        if self._wanted(may_ask=state.global_step % int(args.logging_steps) == 0):
            control.should_log = control.should_save = control.should_training_stop = True

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop after an evaluation during which a signal arrived; the trainer then saves a checkpoint."""
        if state.global_step and self._wanted(may_ask=True):
            control.should_save = control.should_training_stop = True

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name

    def _wanted(self, *, may_ask: bool) -> bool:
        if not (distributed.is_available() and distributed.is_initialized()):
            return self.received is not None
        if not may_ask:
            return False
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        wanted = torch.tensor(int(self.received is not None), device=device)
        distributed.all_reduce(wanted, distributed.ReduceOp.MAX)
        return bool(wanted)
