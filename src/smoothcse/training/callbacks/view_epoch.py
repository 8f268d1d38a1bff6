"""The views that are drawn from text follow the epoch."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.views.collator import CollateViews


class ViewEpoch(TrainerCallback):
    """Tells the collator which epoch begins, before its first batch is made, and also after a resume.

    Args:
        collator: Collator of the trainer.
    """

    def __init__(self, collator: CollateViews) -> None:
        self.collator = collator

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the epoch; that of a run resumed within an epoch has a fraction."""
        self.collator.set_epoch(int(state.epoch or 0))
