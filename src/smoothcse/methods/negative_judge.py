"""The judge of false negatives: the encoder as it was before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from smoothcse.methods.ranks import first_row, of_all_ranks
from smoothcse.methods.state import FrozenEncoder
from smoothcse.objectives import FalseNegatives
from smoothcse.objectives.rows import unit_rows
from smoothcse.views.embed import Features, in_pieces

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class NegativeJudge(nn.Module):
    """Judgement on the negatives of a batch by a frozen copy of the encoder.

    It compares the texts of the anchors, the first column, with those of the positives: the same column if there is
    one, otherwise the second. A resumed run has the same judge, since it loads its start before its checkpoint.

    Args:
        model: Untrained encoder.
        threshold: ``φ``, cosine above which a negative is false.
    """

    def __init__(self, model: SentenceTransformer, threshold: float) -> None:
        super().__init__()
        self.encoder = FrozenEncoder(model)
        self.threshold = threshold
        self._vectors: list[Tensor] = []

    def look_at(self, columns: list[Features]) -> None:
        """Embed the texts of a batch, given its columns of text."""
        self._vectors = [unit_rows(in_pieces(self.encoder, column)) for column in columns[:2]]

    def false_negatives(self, *, reverse: bool = False) -> FalseNegatives:
        """Return the judgement on this rank's anchors and the positives of all ranks.

        Args:
            reverse: Whether the positives are the anchors, as in the second direction of a symmetric loss.
        """
        anchors, positives = self._vectors[0], self._vectors[-1]
        if reverse:
            anchors, positives = positives, anchors
        return FalseNegatives(anchors, of_all_ranks(positives), self.threshold)

    def masked_share(self) -> float | None:
        """Return the share of the in-batch negatives of the last batch that are false; None before the first batch.

        Ranks exchange their counts, so all of them must call this method.
        """
        if not self._vectors:
            return None
        judged = self.false_negatives()
        found = of_all_ranks(judged.count(first_row(self._vectors[-1])).reshape(1)).sum()
        size = len(judged.positives)
        return int(found) / max(1, size * (size - 1))
