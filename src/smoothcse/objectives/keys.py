"""The vectors that the anchors of a batch are scored against."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class HardNegatives:
    """Negatives that belong to one anchor each, and their weight.

    Attributes:
        vectors: ``z3``, float ``(H, d)``; row ``first_positive + i`` belongs to anchor ``i``.
        log_weight: Value added to the logit of each anchor's own hard negative (SimCSE, eq. 8): a *log*-weight, so the
            default 0 means weight 1.
    """

    vectors: Tensor
    log_weight: float = 0.0


@dataclass(frozen=True, eq=False)
class Keys:
    """The sentences that the anchors of one rank are scored against; the noise is not among them.

    Attributes:
        positives: ``z2``, float ``(K, d)`` with ``K >= N``; row ``first_positive + i`` belongs to anchor ``i``.
        hard_negatives: ``z3`` and their weight, or None.
        further_negatives: ``z4``, float ``(F, d)``, negatives that belong to no anchor, such as a queue of earlier
            sentences, or None.
        first_positive: Row of the positives of the first anchor; above 0 where ``positives`` were gathered from
            several ranks.
    """

    positives: Tensor
    hard_negatives: HardNegatives | None = None
    further_negatives: Tensor | None = None
    first_positive: int = 0

    def blocks(self) -> list[Tensor]:
        """Return the vectors that there are: positives, hard negatives and further negatives, in this order."""
        hard = self.hard_negatives.vectors if self.hard_negatives else None
        return [block for block in (self.positives, hard, self.further_negatives) if block is not None]


def own_columns(anchors: Tensor, first_positive: int) -> Tensor:
    """Return the column of each anchor's own positive, long ``(N,)``."""
    return torch.arange(len(anchors), device=anchors.device) + first_positive


def as_hard_negatives(given: HardNegatives | Tensor | None) -> HardNegatives | None:
    """Return hard negatives; plain vectors get log-weight 0."""
    return HardNegatives(given) if isinstance(given, Tensor) else given
