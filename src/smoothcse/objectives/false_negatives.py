"""False negatives of a batch, as DCLR removes them (Zhou et al., ACL 2022).

Two sentences of a batch may mean the same. A frozen encoder, the judge, embeds the texts of the batch, and a pair of
an anchor and another anchor's positive leaves the denominator if the judge's cosine exceeds a threshold ``φ``
(published: 0.9 for BERT, 0.85 for RoBERTa).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


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
