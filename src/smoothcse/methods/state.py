"""State of methods between steps: modules that are saved with each checkpoint and equal on all ranks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from smoothcse.encoders.projection import body_of
from smoothcse.objectives.rows import unit_rows
from smoothcse.views.embed import Features, run

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class VectorQueue(nn.Module):
    """Queue of the last unit vectors, newest last.

    Args:
        size: Number of vectors to keep.
        width: Width of a vector.

    Attributes:
        rows: Vectors, float32 ``(size, width)``; the first ``size - filled`` rows are zero.
        filled: Number of vectors in the queue, on the CPU, so that reading it does not wait for a device.
    """

    rows: Tensor
    filled: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, width))
        self.filled = torch.zeros((), dtype=torch.long)

    def __len__(self) -> int:
        """Return the number of vectors in the queue."""
        return int(self.filled)

    @property
    def newest(self) -> Tensor:
        """Vectors in the queue, ``(n, width)``, newest last."""
        return self.rows[len(self.rows) - len(self) :]

    def with_new(self, vectors: Tensor) -> Tensor:
        """Return the queue after a push of ``(n, d)`` vectors, without changing it; never fewer than n.

        If ``d`` is below the width, the vectors of the queue are truncated and scaled to length 1 again.
        """
        unit, newest = unit_rows(vectors.detach().to(self.rows)), self.newest
        if unit.shape[1] < newest.shape[1]:
            newest = unit_rows(newest[:, : unit.shape[1]])
        return torch.cat([newest, unit])[-max(len(self.rows), len(unit)) :]

    def push(self, vectors: Tensor) -> None:
        """Add vectors ``(n, width)`` and drop the oldest."""
        unit = unit_rows(vectors.detach().to(self.rows))
        self.rows = torch.cat([self.rows, unit])[-len(self.rows) :]
        self.filled = (self.filled + len(vectors)).clamp(max=len(self.rows))

    def get_extra_state(self) -> Tensor:
        """Return the number of vectors, for a checkpoint."""
        return self.filled

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the number of vectors from a checkpoint."""
        self.filled = state.cpu()


class FrozenEncoder(nn.Module):
    """Copy of an encoder, without its training head and without dropout.

    Args:
        model: Untrained encoder, so that the copy has the pretrained weights.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(nn.Sequential(*body_of(model))).requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Ignore the mode and stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, features: Features) -> Tensor:
        """Return the sentence embeddings ``(N, d)``."""
        embedding: Tensor = run(self.encoder, features)["sentence_embedding"]
        return embedding


class MomentumEncoder(FrozenEncoder):
    """Momentum encoder: a moving average of an encoder, without its training head and without dropout.

    Args:
        model: Untrained encoder, so that the copy starts from the pretrained weights.
        momentum: ``m`` of ``θ_m ← m θ_m + (1 - m) θ``.
    """

    def __init__(self, model: SentenceTransformer, momentum: float) -> None:
        super().__init__(model)
        self.momentum = momentum

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Update the moving average with the weights of the encoder."""
        of_model = [parameter for module in body_of(model) for parameter in module.parameters()]
        torch._foreach_lerp_([*self.parameters()], [p.detach() for p in of_model], 1.0 - self.momentum)
