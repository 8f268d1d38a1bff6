"""A callback that logs shares of the negatives of a batch beside the loss."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.methods import ContrastiveLoss


class BatchShares(TrainerCallback):
    """Callback that adds the noise share and the masked share of the batch to each log entry with a training loss.

    The noise share s is the noise's part of the negative mass; the ratio 1 / (1 - s) is the factor by which it raises
    the pull per push in the gradient. The masked share is the fraction of the negatives that are likely false, by the
    judge of ``false_negative_threshold``; it is missing without one.

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
        """Add the shares to the entry."""
        if "loss" not in logs:
            return
        shares = {"noise_share": self.loss.batch_noise_share(), "masked_share": self.loss.batch_masked_share()}
        logs |= {name: share for name, share in shares.items() if share is not None}
        if logs.get("noise_share", 1.0) < 1:
            logs["ratio"] = 1 / (1 - logs["noise_share"])
