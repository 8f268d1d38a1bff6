"""A callback that keeps freed memory between two checkpoints, and returns it to the system at each of them."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse._utils.freed_memory import give_back_freed_memory, keep_freed_memory


class FreedMemory(TrainerCallback):
    """Callback that spares steps from mapping memory again, and keeps that of long runs from growing."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let the next step have the memory that a step frees."""
        keep_freed_memory()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Return the memory that the steps and the evaluation have freed."""
        give_back_freed_memory()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Return the memory that the run has freed."""
        give_back_freed_memory()
