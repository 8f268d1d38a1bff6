"""What methods keep between steps: modules that are saved with a checkpoint and equal on all ranks."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.util import all_gather
from torch import Tensor, distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from smoothcse.encoders.projection import is_projection
from smoothcse.views.embed import Features, run

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class VectorQueue(nn.Module):
    """The last few unit vectors, the newest at the end.

    Args:
        size: vectors that are kept.
        width: of a vector.

    Attributes:
        rows: float32 ``(size, width)``; the first ``size - filled`` are zero.
        filled: number of vectors there are, on the CPU, so that reading it waits for no device.
    """

    rows: Tensor
    filled: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(size, width))
        self.filled = torch.zeros((), dtype=torch.long)

    def __len__(self) -> int:
        """Return the number of vectors there are."""
        return int(self.filled)

    @property
    def newest(self) -> Tensor:
        """The vectors there are, ``(n, width)``, the newest last."""
        return self.rows[len(self.rows) - len(self) :]

    def with_new(self, vectors: Tensor) -> Tensor:
        """Return the vectors there would be with these ``(n, width)`` pushed, all of these even if they are more."""
        unit = functional.normalize(vectors.detach().to(self.rows), dim=1)
        return torch.cat([self.newest, unit])[-max(len(self.rows), len(unit)) :]

    def push(self, vectors: Tensor) -> None:
        """Add vectors ``(n, width)`` and let the oldest go."""
        unit = functional.normalize(vectors.detach().to(self.rows), dim=1)
        self.rows = torch.cat([self.rows, unit])[-len(self.rows) :]
        self.filled = (self.filled + len(vectors)).clamp(max=len(self.rows))

    def get_extra_state(self) -> Tensor:
        """Return the number of vectors, for a checkpoint."""
        return self.filled

    def set_extra_state(self, state: Tensor) -> None:
        """Take the number of vectors from a checkpoint."""
        self.filled = state.cpu()


def of_all_ranks(vectors: Tensor) -> Tensor:
    """Return the vectors ``(N, d)`` of all ranks, one rank's after the other, without gradient."""
    vectors = vectors.detach()
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return vectors
    gathered: Tensor = all_gather(vectors)
    return gathered


class MomentumEncoder(nn.Module):
    """A slow copy of an encoder, without its training head, that follows it at each step and never drops out.

    Args:
        model: the encoder as it starts, so that the copy starts from its pretrained weights.
        momentum: ``m`` of ``θ_m ← m θ_m + (1 - m) θ``.
    """

    def __init__(self, model: SentenceTransformer, momentum: float) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(nn.Sequential(*_body(model))).requires_grad_(False)
        self.momentum = momentum
        self.eval()

    def train(self, mode: bool = True) -> MomentumEncoder:
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Take a step towards the weights of the encoder."""
        of_model = [parameter for module in _body(model) for parameter in module.parameters()]
        torch._foreach_lerp_([*self.parameters()], [p.detach() for p in of_model], 1.0 - self.momentum)

    @torch.no_grad()
    def forward(self, features: Features) -> Tensor:
        """Return the sentence embeddings ``(N, d)``."""
        embedding: Tensor = run(self.encoder, features)["sentence_embedding"]
        return embedding


def head_of(model: nn.Module) -> nn.Module | None:
    """Return the training head of an encoder, if it has one."""
    return next((module for module in unwrapped(model) if is_projection(module)), None)


def _body(model: nn.Module) -> list[nn.Module]:
    """Return what makes the raw sentence embedding: the modules before the head and the normalisation."""
    return [module for module in unwrapped(model) if not (is_projection(module) or isinstance(module, Normalize))]


def unwrapped(model: nn.Module) -> SentenceTransformer:
    """Return the encoder that may be wrapped for several devices."""
    inner: SentenceTransformer = model.module if isinstance(model, DistributedDataParallel) else model
    return inner
