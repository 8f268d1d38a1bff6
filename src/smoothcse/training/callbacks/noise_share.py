"""A callback that logs the noise share beside the loss."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.methods import ContrastiveLoss


class NoiseShare(TrainerCallback):
    """Callback that adds the batch's noise share to each log entry with a training loss.

    Every rank needs it, as the ranks exchange their shares, and it must come before the callbacks that read the entry.
    The exchange happens right after the trainer has gathered the loss, so that it makes no further step wait.

    Args:
        loss: Loss of the run.
    """

    def __init__(self, loss: ContrastiveLoss) -> None:
        self.loss = loss

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Add the noise share to the entry."""
        share = self.loss.batch_noise_share() if "loss" in logs else None
        if share is not None:
            logs["noise_share"] = share
