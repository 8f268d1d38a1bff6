"""ArcCon; its formula is in :mod:`smoothcse.objectives.arccon`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from sentence_transformers import SentenceTransformer
from torch import Tensor

from smoothcse._utils.validation import CHECKED
from smoothcse.methods.base import ContrastiveLoss
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import Method
from smoothcse.objectives.arccon import angular_margin_logits


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class ArcCon(MethodSettings):
    """Settings of ArcCon; the default is the published value."""

    name: Literal["arccon"] = "arccon"
    margin: Annotated[
        float, Field(ge=0, le=90, description="m, angular margin in degrees between a positive pair and all others.")
    ] = 10.0


class ArcConLoss(ContrastiveLoss):
    """ArcCon (Zhang et al., ACL 2022).

    Args:
        model: Encoder.
        settings: Settings of the method.
        **others: Arguments of :class:`~smoothcse.methods.base.ContrastiveLoss`.
    """

    settings: ArcCon

    def __init__(self, model: SentenceTransformer, *, settings: ArcCon | None = None, **others: Any) -> None:
        super().__init__(model, settings=settings or ArcCon(), **others)

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Return the scalar loss of this rank's ``[z1, z2]`` or ``[z1, z2, z3]``, each ``(N, d)``."""
        anchors, positives, *hard = embeddings
        own = angular_margin_logits(anchors, positives, margin=self.settings.margin, temperature=self.temperature)
        return self.contrast(anchors, positives, hard[0] if hard else None, own)


METHOD = Method(
    title="ArcCon, the pairwise loss of ArcCSE (Zhang et al., ACL 2022)",
    about="Adds an angular margin between positive pairs and all others.",
    loss=ArcConLoss,
    settings=ArcCon,
    pairs=True,
    own_logits=True,
)
