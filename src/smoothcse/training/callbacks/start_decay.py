"""A callback that pulls the weights of the encoder toward those that the training started from."""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.encoders.projection import body_of


class StartDecay(TrainerCallback):
    """Callback that updates ``θ ← θ - lr · decay · (θ - θ_0)`` after each step of the optimizer.

    This is L2-SP (Li, Grandvalet and Davoine, ICML 2018) in the decoupled form of AdamW's weight decay (Loshchilov and
    Hutter, ICLR 2019). The projection head, whose start is random, is left out. Every rank does the same.

    Args:
        model: Encoder with the weights ``θ_0``: a resumed run, too, loads its checkpoint later.
        decay: Strength of the pull; ``lr · decay`` is the fraction of the distance that each step takes back.
    """

    def __init__(self, model: SentenceTransformer, decay: float) -> None:
        self.decay = decay
        self.start: dict[Tensor, Tensor] = {
            parameter: parameter.detach().clone()
            for module in body_of(model)
            for parameter in module.parameters()
            if parameter.requires_grad
        }

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move the start to the device of the encoder."""
        self.start = {parameter: start.to(parameter.device) for parameter, start in self.start.items()}

    @torch.no_grad()
    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Pull the weights, unless the loss scaler of fp16 skipped the step."""
        if optimizer.step_was_skipped:
            return
        for group in optimizer.param_groups:
            pulled: list[Tensor] = [parameter for parameter in group["params"] if parameter in self.start]
            if pulled:
                starts = [self.start[parameter] for parameter in pulled]
                torch._foreach_lerp_(pulled, starts, float(group["lr"]) * self.decay)
