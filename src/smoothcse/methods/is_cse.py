"""IS-CSE; its formulas are in :mod:`smoothcse.objectives.is_cse`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from sentence_transformers import SentenceTransformer
from torch import Tensor

from smoothcse._utils.validation import CHECKED
from smoothcse.methods.base import ContrastiveLoss
from smoothcse.methods.ranks import across_ranks, of_all_ranks
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.state import VectorQueue
from smoothcse.methods.table import Method
from smoothcse.objectives import info_nce
from smoothcse.objectives.is_cse import smoothed_positives, smoothing_weight
from smoothcse.views.embed import Features


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class ISCSE(MethodSettings):
    """Settings of IS-CSE; the defaults are the published values for the base models."""

    name: Literal["is-cse"] = "is-cse"
    weight: Annotated[
        float, Field(ge=0, description="α, weight of the smoothed loss in the second half of training.")
    ] = 0.1
    weight_at_start: Annotated[
        float,
        Field(
            ge=0, description="α at the start, from which it rises along a cosine; published for large models: 0.005."
        ),
    ] = 0.1
    buffer_size: Annotated[int, Field(ge=2, description="Number of positives in the buffer.")] = 1024
    neighbours: Annotated[int, Field(ge=1, description="Nearest neighbours that each positive is averaged with.")] = 16
    group_temperature: Annotated[float, Field(gt=0, description="β, temperature of the weights in the average.")] = 2.0


class ISCSELoss(ContrastiveLoss):
    """IS-CSE (He et al., AAAI 2023).

    The smoothed loss starts when the buffer is full; until then, the loss is that of SimCSE.

    Args:
        model: Encoder.
        settings: Settings of the method.
        **others: Arguments of :class:`~smoothcse.methods.base.ContrastiveLoss`.
    """

    state: VectorQueue
    settings: ISCSE

    def __init__(self, model: SentenceTransformer, *, settings: ISCSE | None = None, **others: Any) -> None:
        super().__init__(model, settings=settings or ISCSE(), **others)
        width = model.get_embedding_dimension() or 0
        self.state = VectorQueue(self.settings.buffer_size, width).to(model.device)
        self._latest: Tensor | None = None

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Return ``L_cl + α L_smooth``."""
        loss = super().compute_loss_from_embeddings(embeddings)
        anchors, positives = embeddings[:2]
        self._latest = of_all_ranks(positives)
        if len(self.state) + len(self._latest) < self.settings.buffer_size:
            return loss
        memory = self.state.with_new(self._latest)
        smoothed = smoothed_positives(
            positives, memory, neighbours=self.settings.neighbours, temperature=self.settings.group_temperature
        )
        keys, first = across_ranks(smoothed)
        weight = smoothing_weight(self.progress, self.settings.weight_at_start, self.settings.weight)
        return loss + weight * info_nce(anchors, keys, temperature=self.temperature, first_positive=first)

    def remember(self, columns: list[Features]) -> None:
        """Add this step's positives to the buffer."""
        if self._latest is not None:
            self.state.push(self._latest)
            self._latest = None


METHOD = Method(
    title="IS-CSE (He et al., AAAI 2023)",
    about="Adds a second loss, whose positives are averaged with their nearest neighbours among the last sentences.",
    loss=ISCSELoss,
    settings=ISCSE,
    pairs=True,
    own_logits=True,
)
