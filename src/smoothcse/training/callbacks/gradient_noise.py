"""Isotropic noise on the gradient, an experiment to compare the smoothing with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse.objectives import GaussianNoise


class GradientNoise(TrainerCallback):
    """Adds isotropic Gaussian noise to the gradient: what GS-InfoNCE's noise does, without its direction.

    The noise has, in expectation, ``scale`` times the norm of the gradient. It depends on seed and step alone, so
    all ranks add the same and a resumed run goes on as it would have.

    Args:
        scale: norm of the noise in units of the gradient's.
        seed: of the run.
    """

    def __init__(self, scale: float, seed: int) -> None:
        self.scale = scale
        self.seed = seed

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Disturb the gradients, behind the clipping."""
        assert model is not None
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([gradient.norm() for gradient in gradients]))
        std = self.scale * norm / sum(gradient.numel() for gradient in gradients) ** 0.5
        source = GaussianNoise(self.seed)
        for number, gradient in enumerate(gradients):
            noise = source.draw(
                state.global_step * len(gradients) + number, 1, gradient.numel(), device=gradient.device
            )
            gradient.add_(noise.view_as(gradient) * std)
