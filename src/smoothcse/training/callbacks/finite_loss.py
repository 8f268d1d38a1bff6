"""A callback that stops a run whose loss or gradient is not finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.encoders.sharding import whole_tensor
from smoothcse.errors import SmoothCSEError
from smoothcse.runs.folder import RunFolder


class FiniteLoss(TrainerCallback):
    """Callback that stops a run whose loss or gradient is not finite, before it writes a checkpoint.

    Both are checked on their device at each step. The result is read only when the trainer logs, evaluates or saves,
    so that no step waits for the device.

    Args:
        loss: Loss module of the trainer.
        folder: Run folder, named in the message.
        gradients: Whether to check the gradient too. False with a loss scaler, which finds its scale by overflowing.
    """

    def __init__(self, loss: nn.Module, folder: RunFolder, *, gradients: bool = True) -> None:
        self.folder = folder
        self.gradients = gradients
        self.step = 0
        self.first_bad_step: Tensor | None = None
        loss.register_forward_hook(self._watch)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Store the number of the step, counted from 1 as in the logs."""
        self.step = state.global_step + 1

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Read the result when the trainer waits for the device anyway."""
        if control.should_log or control.should_evaluate or control.should_save or control.should_training_stop:
            self._check()

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Check the gradient: if it is not finite it ruins the weights, though the loss of the step is finite."""
        if self.gradients and model is not None:
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            self._note(whole_tensor(nn.utils.get_total_norm(gradients)))

    def _watch(self, module: nn.Module, inputs: Any, loss: Tensor) -> None:
        if module.training:
            self._note(loss.detach())

    def _note(self, value: Tensor) -> None:
        if self.first_bad_step is None:
            self.first_bad_step = torch.full((), -1, dtype=torch.long, device=value.device)
        is_first = ~torch.isfinite(value) & (self.first_bad_step < 0)
        self.first_bad_step = torch.where(is_first, self.step, self.first_bad_step)

    def _check(self) -> None:
        if self.first_bad_step is None or (step := int(self.first_bad_step)) < 0:
            return
        raise SmoothCSEError(
            f"The loss or its gradient is not a finite number at step {step}; {self.folder.kept()}. "
            "Lower learning_rate, raise temperature, or use precision fp32."
        )
