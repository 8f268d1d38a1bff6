"""The noise share of a step beside its loss."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.methods import ContrastiveLoss


class NoiseShare(TrainerCallback):
    """Adds the batch's noise share to each log entry that has a training loss.

    It belongs to every rank, as the ranks exchange their shares, and before the callbacks that read the entry. They do
    so when the host has just gathered the loss, so no step waits that did not wait before.

    Args:
        loss: Being trained with.
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
        """Add it."""
        share = self.loss.batch_noise_share() if "loss" in logs else None
        if share is not None:
            logs["noise_share"] = share
