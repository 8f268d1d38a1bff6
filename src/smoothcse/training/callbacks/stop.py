"""Stopping on request: after the current step, with a checkpoint, so that nothing is lost."""

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
    """Ends the training in good order when the process is asked to stop.

    The step (or evaluation) that is under way is finished, a log entry and a checkpoint are written, and the run can
    go on from there. A second signal stops at once; the last checkpoint written before is then what remains.

    Several ranks must stop at the same step. They agree on it where they log, as agreeing at each step would have
    every one of them wait for its device.

    Attributes:
        received: name of the signal that was received, or None.
    """

    def __init__(self) -> None:
        self.received: str | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals for as long as the context lasts; outside of the main thread there are none to take."""
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
        """Have the host log, save and stop."""
        if self._wanted(may_ask=state.global_step % int(args.logging_steps) == 0):
            control.should_log = control.should_save = control.should_training_stop = True

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop after an evaluation that a signal fell into; the host saves a checkpoint after each."""
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
