"""A callback that returns freed memory to the system at each checkpoint."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse._utils.freed_memory import give_back_freed_memory


class GiveBackFreedMemory(TrainerCallback):
    """Callback that keeps the memory of long runs from growing."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Return the memory that the steps and the evaluation have freed."""
        give_back_freed_memory()
