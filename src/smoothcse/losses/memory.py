"""What methods keep between steps: modules that are saved with a checkpoint and equal on all ranks."""

from __future__ import annotations

import torch
from sentence_transformers.util import all_gather
from torch import Tensor, distributed, nn
from torch.nn import functional


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
        """Return what :attr:`rows` would be with these ``(n, width)`` pushed."""
        unit = functional.normalize(vectors.detach().to(self.rows), dim=1)
        return torch.cat([self.rows, unit])[-len(self.rows) :]

    def push(self, vectors: Tensor) -> None:
        """Add vectors ``(n, width)`` and let the oldest go."""
        self.rows = self.with_new(vectors)
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
