"""SimCSE++; its formulas are in :mod:`smoothcse.objectives.simcse_pp`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from sentence_transformers import SentenceTransformer
from torch import Tensor

from smoothcse._utils.validation import CHECKED
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.base import ContrastiveLoss
from smoothcse.methods.ranks import across_ranks
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import Method
from smoothcse.objectives.simcse_pp import dimension_wise_contrast, dropout_pair_logits
from smoothcse.views.embed import READ, Features, read_without_dropout


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class SimCSEPP(MethodSettings):
    """Settings of SimCSE++; the defaults are the published values for BERT-base."""

    name: Literal["simcse++"] = "simcse++"
    positive_weight: Annotated[
        float, Field(gt=0, description="ρ, weight of the similarity of the two dropout views; published: 0.9 or 1.")
    ] = 0.9
    dimension_weight: Annotated[
        float, Field(ge=0, description="Weight of the dimension-wise loss; 0 turns it off.")
    ] = 0.1
    dimension_temperature: Annotated[float, Field(gt=0, description="τ', temperature of the dimension-wise loss.")] = (
        5.0
    )


class SimCSEPPLoss(ContrastiveLoss):
    """SimCSE++ (Xu et al., Findings of EMNLP 2023).

    The dataset has one column of text. Noise is added to the negatives, which are views without dropout. The
    statistics of the dimension-wise loss are computed over the batch of all ranks.

    Args:
        model: Encoder.
        settings: Settings of the method.
        **others: Arguments of :class:`~smoothcse.methods.base.ContrastiveLoss`.
    """

    settings: SimCSEPP

    def __init__(self, model: SentenceTransformer, *, settings: SimCSEPP | None = None, **others: Any) -> None:
        super().__init__(model, settings=settings or SimCSEPP(), **others)

    def views(self, columns: list[Features]) -> list[Features]:
        """Return the sentences three times, the last time for embedding without dropout."""
        if len(columns) > 1:
            raise SmoothCSEError("SimCSE++ takes one column of text, not pairs; use another method for pairs.")
        return [columns[0], columns[0], {**columns[0], READ: read_without_dropout}]

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Return the scalar loss of this rank's ``[z1, z2, z0]``, each ``(N, d)``."""
        first, second, calm = embeddings
        own = dropout_pair_logits(first, second, weight=self.settings.positive_weight, temperature=self.temperature)
        loss = self.contrast(calm, calm, own=own)
        if not self.settings.dimension_weight:
            return loss
        everywhere = (across_ranks(view)[0] for view in (first, second))
        dimensions = dimension_wise_contrast(*everywhere, temperature=self.settings.dimension_temperature)
        return loss + self.settings.dimension_weight * dimensions


METHOD = Method(
    title="SimCSE++ (Xu et al., Findings of EMNLP 2023)",
    about="Embeds negatives without dropout, and adds a loss that contrasts the dimensions of the two views.",
    loss=SimCSEPPLoss,
    settings=SimCSEPP,
    encodes=3.0,
    symmetric=False,  # anchors and positives are the same views
    own_logits=True,
)
