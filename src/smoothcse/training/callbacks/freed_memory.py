"""Freed memory goes back to the system at each checkpoint."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse._utils.freed_memory import give_back_freed_memory


class GiveBackFreedMemory(TrainerCallback):
    """Keeps a run of hours from growing, where the loop stops anyway."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Give back what the steps and the evaluation have freed."""
        give_back_freed_memory()
