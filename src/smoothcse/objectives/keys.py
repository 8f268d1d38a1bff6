"""Keys: the vectors with which the anchors of a batch are compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class HardNegatives:
    """Hard negatives, one per anchor, and their weight.

    Attributes:
        vectors: ``z3``, float ``(H, d)``; row ``first_positive + i`` belongs to anchor ``i``.
        log_weight: Value added to the logit of each anchor's own hard negative (SimCSE, eq. 8): a *log*-weight, so the
            default 0 means weight 1.
    """

    vectors: Tensor
    log_weight: float = 0.0


@dataclass(frozen=True, eq=False)
class Keys:
    """Sentences with which the anchors of one rank are compared, without the noise.

    Attributes:
        positives: ``z2``, float ``(K, d)`` with ``K >= N``; row ``first_positive + i`` belongs to anchor ``i``.
        hard_negatives: ``z3`` and their weight, or None.
        further_negatives: ``z4``, float ``(F, d)``, negatives that belong to no anchor, such as a queue of earlier
            sentences, or None.
        first_positive: Row of the positives of the first anchor; above 0 if ``positives`` were gathered from
            several ranks.
    """

    positives: Tensor
    hard_negatives: HardNegatives | None = None
    further_negatives: Tensor | None = None
    first_positive: int = 0

    def blocks(self) -> list[Tensor]:
        """Return the blocks of vectors: positives, then hard negatives and further negatives if there are any."""
        hard = self.hard_negatives.vectors if self.hard_negatives else None
        return [block for block in (self.positives, hard, self.further_negatives) if block is not None]


def own_columns(anchors: Tensor, first_positive: int) -> Tensor:
    """Return the column of each anchor's own positive, long ``(N,)``."""
    return torch.arange(len(anchors), device=anchors.device) + first_positive


def as_hard_negatives(given: HardNegatives | Tensor | None) -> HardNegatives | None:
    """Return hard negatives; plain vectors get log-weight 0."""
    return HardNegatives(given) if isinstance(given, Tensor) else given
