"""SNCSE; its formulas are in :mod:`smoothcse.objectives.sncse`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass
from sentence_transformers import SentenceTransformer
from torch import Tensor

from smoothcse._utils.validation import CHECKED
from smoothcse.encoders.templates import check_template, with_template
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.prompted import PromptedLoss
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import Method
from smoothcse.objectives.sncse import bidirectional_margin
from smoothcse.views.embed import Features
from smoothcse.views.further import FurtherTexts
from smoothcse.views.negation import NegationBy, negations

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class SNCSE(MethodSettings):
    """Settings of SNCSE; the defaults are the published values for BERT."""

    name: Literal["sncse"] = "sncse"
    anchor: Annotated[
        str, AfterValidator(check_template), Field(description="Template of the first view and of the model.")
    ] = 'This sentence : " {sentence} " means {mask} .'
    positive: Annotated[
        str, AfterValidator(check_template), Field(description="Template of the second view and of the negation.")
    ] = 'This sentence of " {sentence} " means {mask} .'
    weight: Annotated[float, Field(ge=0, description="λ of the margin loss; published for RoBERTa: 0.0005.")] = 1e-3
    nearest: Annotated[
        float, Field(ge=0, le=2, description="α, minimum by which a negation is less similar than the positive.")
    ] = 0.1
    farthest: Annotated[
        float, Field(ge=0, le=2, description="β, maximum by which a negation is less similar than the positive.")
    ] = 0.3
    negation: Annotated[
        NegationBy,
        Field(description="Negation by a 'spacy' parser or by simple 'rules'; 'auto': spacy if it is installed."),
    ] = "auto"
    pipeline: Annotated[str, Field(description="Name of the spaCy pipeline.")] = "en_core_web_sm"


def prepare(model: SentenceTransformer, settings: SNCSE) -> SentenceTransformer:
    """Return the encoder with the first template."""
    return with_template(model, settings.anchor)


def add_negations(sentences: Dataset, model: SentenceTransformer, settings: SNCSE, *_: Any) -> FurtherTexts:
    """Return the negation of each sentence."""
    return negations(sentences, settings.negation, settings.pipeline)


class SNCSELoss(PromptedLoss):
    """SNCSE (Wang et al., 2022).

    A batch has two columns of text, the sentences and their negations.

    Args:
        model: Encoder, from :func:`prepare`.
        settings: Settings of the method.
        **others: Arguments of :class:`~smoothcse.methods.base.ContrastiveLoss`.
    """

    settings: SNCSE

    def __init__(self, model: SentenceTransformer, *, settings: SNCSE | None = None, **others: Any) -> None:
        settings = settings or SNCSE()
        super().__init__(model, templates=[settings.anchor, settings.positive], settings=settings, **others)

    def views(self, columns: list[Features]) -> list[Features]:
        """Return the sentences in both templates, and the negations in the second template."""
        if len(columns) != 2:
            raise SmoothCSEError(f"SNCSE takes two columns, sentences and their negations, not {len(columns)}.")
        sentences, negations = columns
        return [self.in_template(sentences, 0), self.in_template(sentences, 1), self.in_template(negations, 1)]

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor | None = None) -> Tensor:
        """Return the weighted sum of ``L_cl`` and the margin loss."""
        anchors, positives, soft_negatives = embeddings
        margin = bidirectional_margin(
            anchors,
            positives,
            soft_negatives,
            nearest=self.settings.nearest,
            farthest=self.settings.farthest,
        )
        return super().compute_loss_from_embeddings([anchors, positives]) + self.settings.weight * margin


METHOD = Method(
    title="SNCSE (Wang et al., 2022, arXiv 2201.05979)",
    about="Two templates with a [MASK] token as views, and negations as soft negatives, which must be slightly less "
    "similar than positives.",
    loss=SNCSELoss,
    settings=SNCSE,
    encodes=3.0,
    columns=2,
    prepare=prepare,
    add_texts=add_negations,
)
