"""Keys: the vectors with which the anchors of a batch are compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from smoothcse.objectives.false_negatives import FalseNegatives


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
        false_negatives: Judgement on which of the other anchors' positives are no negatives, or None.
    """

    positives: Tensor
    hard_negatives: HardNegatives | None = None
    further_negatives: Tensor | None = None
    first_positive: int = 0
    false_negatives: FalseNegatives | None = None

    def blocks(self) -> list[Tensor]:
        """Return the blocks of vectors: positives, then hard negatives and further negatives if there are any."""
        hard = self.hard_negatives.vectors if self.hard_negatives else None
        return [block for block in (self.positives, hard, self.further_negatives) if block is not None]

    def drawn_negatives(self) -> int:
        """Return the number of negatives of an anchor that are drawn at random: all but the hard ones."""
        return len(self.positives) - 1 + (0 if self.further_negatives is None else len(self.further_negatives))


def own_columns(anchors: Tensor, first_positive: int) -> Tensor:
    """Return the column of each anchor's own positive, long ``(N,)``."""
    return torch.arange(len(anchors), device=anchors.device) + first_positive


def without_own(logits: Tensor, first_positive: int) -> Tensor:
    """Remove the mass of each anchor's own positive from ``(N, K + ...)`` logits."""
    # A finite value: a row of minus infinity alone would have no gradient, not even zero.
    own = own_columns(logits, first_positive).unsqueeze(1)
    return logits.scatter(1, own, torch.finfo(logits.dtype).min)


def as_hard_negatives(given: HardNegatives | Tensor | None) -> HardNegatives | None:
    """Return hard negatives; plain vectors get log-weight 0."""
    return HardNegatives(given) if isinstance(given, Tensor) else given
