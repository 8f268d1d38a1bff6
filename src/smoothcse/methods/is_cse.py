"""IS-CSE for the trainer; :mod:`smoothcse.objectives.is_cse` has its formulas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from sentence_transformers import SentenceTransformer
from torch import Tensor

from smoothcse._utils.validation import CHECKED
from smoothcse.methods.gs_info_nce import GSInfoNCELoss, across_ranks
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.state import VectorQueue, of_all_ranks
from smoothcse.methods.table import Method
from smoothcse.objectives import info_nce
from smoothcse.objectives.is_cse import smoothed_positives, smoothing_weight
from smoothcse.views.embed import Features


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class ISCSE(MethodSettings):
    """The published values for the base models, which are the defaults, and what they mean."""

    name: Literal["is-cse"] = "is-cse"
    weight: Annotated[
        float, Field(ge=0, description="α of the smoothed loss, from the middle of the training on.")
    ] = 0.1
    weight_at_start: Annotated[
        float,
        Field(ge=0, description="α at the start, from which it climbs along a cosine; published for large: 0.005."),
    ] = 0.1
    buffer_size: Annotated[int, Field(ge=2, description="Positives that are kept.")] = 1024
    neighbours: Annotated[int, Field(ge=1, description="Nearest ones that each positive is averaged with.")] = 16
    group_temperature: Annotated[float, Field(gt=0, description="β of the weights in the average.")] = 2.0


def make_buffer(model: SentenceTransformer, settings: ISCSE) -> VectorQueue:
    """Return an empty buffer for a model's embeddings."""
    return VectorQueue(settings.buffer_size, model.get_embedding_dimension() or 0)


class ISCSELoss(GSInfoNCELoss):
    """IS-CSE (He et al., AAAI 2023) in the shape of :class:`GSInfoNCELoss`, whose other arguments it takes.

    The smoothed loss sets in once the buffer is full; until then the loss is that of SimCSE.

    Args:
        model: the encoder.
        settings: of the method.
        state: its buffer; None for an empty one.
        **others: of :class:`GSInfoNCELoss`.
    """

    state: VectorQueue
    settings: ISCSE

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        settings: ISCSE | None = None,
        state: VectorQueue | None = None,
        **others: Any,
    ) -> None:
        settings = settings or ISCSE()
        super().__init__(model, settings=settings, state=state or make_buffer(model, settings), **others)
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
    about="A second loss pulls each sentence to its positive averaged with that one's nearest neighbours among the "
    "last sentences.",
    loss=ISCSELoss,
    settings=ISCSE,
    pairs=True,
    make_state=make_buffer,
)
