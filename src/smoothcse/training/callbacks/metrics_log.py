"""``metrics.jsonl``, line by line; a checkpoint never outlives the lines before it."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse._utils.atomic import sync
from smoothcse.runs.folder import RunFolder


class Metrics(TrainerCallback):
    """Writes ``metrics.jsonl``.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.started = time.perf_counter()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Write one line."""
        seconds = round(time.perf_counter() - self.started, 3)
        self.folder.log({"step": state.global_step, **logs, "seconds": seconds})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Have the disk hold the lines before the checkpoint is sealed; the callback that seals must stand behind."""
        sync(self.folder.metrics_file)
