"""A callback that passes the optimiser's step to the loss."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.methods import ContrastiveLoss


class NoiseStep(TrainerCallback):
    """Callback that passes the optimiser's step to the loss.

    Noise and schedules follow this step, so that they are the same after a resume and with gradient accumulation.

    Args:
        loss: Loss of the run.
    """

    def __init__(self, loss: ContrastiveLoss) -> None:
        self.loss = loss

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the step and the progress of the loss."""
        self.loss.step = state.global_step
        self.loss.progress = state.global_step / max(1, state.max_steps)
