"""False negatives of a batch, as DCLR removes them (Zhou et al., ACL 2022).

Two sentences of a batch may mean the same. A frozen encoder, the judge, embeds the texts of the batch, and a pair of
an anchor and another anchor's positive leaves the denominator if the judge's cosine exceeds a threshold ``φ``
(published: 0.9 for BERT, 0.85 for RoBERTa).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_BLOCK_ELEMENTS = 2**24
"""Maximum number of judged pairs in memory at a time."""


@dataclass(frozen=True, eq=False)
class FalseNegatives:
    """The judge's vectors of a batch and its threshold.

    Attributes:
        anchors: Unit vectors of the anchors' texts, float ``(N, e)``, without gradient.
        positives: Unit vectors of the texts of all positives, float ``(K, e)``, in the order of the keys.
        threshold: ``φ``, cosine above which a negative is false.
    """

    anchors: Tensor
    positives: Tensor
    threshold: float

    def among(self, first: int, last: int) -> Tensor:
        """Return which of the positives from ``first`` to ``last`` the judge takes for the same as the anchor.

        Returns:
            Boolean ``(N, last - first)``. An anchor's own positive is judged like the others; the loss keeps it.
        """
        return self.anchors @ self.positives[first:last].T > self.threshold

    def count(self, first_positive: int = 0) -> Tensor:
        """Return the number of pairs of an anchor and another anchor's positive above the threshold.

        Args:
            first_positive: Row of the positives of the first anchor.

        Returns:
            Long scalar. The pairs are judged in blocks, so that the memory is independent of the batch size.
        """
        rows, device = len(self.anchors), self.anchors.device
        width = max(1, _BLOCK_ELEMENTS // max(1, rows))
        own = torch.arange(first_positive, first_positive + rows, device=device)
        total = torch.zeros((), dtype=torch.long, device=device)
        for start in range(0, len(self.positives), width):
            found = self.among(start, start + width)
            here = ((own >= start) & (own < start + width)).nonzero().squeeze(1)
            found[here, own[here] - start] = False
            total += found.sum()
        return total
