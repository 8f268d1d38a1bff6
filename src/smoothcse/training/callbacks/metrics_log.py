"""A callback that writes ``metrics.jsonl``; its lines reach the disk before the next checkpoint is valid."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse._utils.atomic import fsync
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.metrics import append_metrics


class Metrics(TrainerCallback):
    """Callback that writes ``metrics.jsonl``.

    Args:
        folder: Run folder.
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
        """Append one line."""
        seconds = round(time.perf_counter() - self.started, 3)
        append_metrics(self.folder.metrics_file, {"step": state.global_step, **logs, "seconds": seconds})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Flush the lines to disk. The callback that writes the checkpoint's checksums must come later."""
        fsync(self.folder.metrics_file)
