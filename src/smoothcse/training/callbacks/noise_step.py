"""The noise follows the optimiser's step."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.methods import ContrastiveLoss


class NoiseStep(TrainerCallback):
    """Tells a loss the optimiser's step.

    So noise and schedules are the same after a resume and while accumulating.

    Args:
        loss: Loss of the trainer.
    """

    def __init__(self, loss: ContrastiveLoss) -> None:
        self.loss = loss

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set step and progress."""
        self.loss.step = state.global_step
        self.loss.progress = state.global_step / max(1, state.max_steps)
