"""PromptBERT; its formulas are in :mod:`smoothcse.objectives.promptbert`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass
from sentence_transformers import SentenceTransformer

from smoothcse._utils.validation import CHECKED
from smoothcse.encoders.templates import check_template, with_template
from smoothcse.methods.prompted import PromptedLoss
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import Method
from smoothcse.views.embed import Features


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class PromptBERT(MethodSettings):
    """Settings of PromptBERT; the defaults are the published templates for BERT. Recipes set those for RoBERTa."""

    name: Literal["promptbert"] = "promptbert"
    anchor: Annotated[
        str, AfterValidator(check_template), Field(description="Template of the first view and of the model.")
    ] = 'This sentence of "{sentence}" means{mask}.'
    positive: Annotated[str, AfterValidator(check_template), Field(description="Template of the second view.")] = (
        'This sentence : "{sentence}" means{mask}.'
    )


def prepare(model: SentenceTransformer, settings: PromptBERT) -> SentenceTransformer:
    """Return the encoder with the first template."""
    return with_template(model, settings.anchor)


class PromptBERTLoss(PromptedLoss):
    """PromptBERT (Jiang et al., EMNLP 2022).

    As in the released code, sentences of equal length share the state of the bare template, including its dropout.

    Args:
        model: Encoder, from :func:`prepare`.
        settings: Settings of the method.
        **others: Arguments of :class:`~smoothcse.methods.base.ContrastiveLoss`.
    """

    def __init__(self, model: SentenceTransformer, *, settings: PromptBERT | None = None, **others: Any) -> None:
        settings = settings or PromptBERT()
        super().__init__(model, templates=[settings.anchor, settings.positive], settings=settings, **others)

    def views(self, columns: list[Features]) -> list[Features]:
        """Return the sentences in both templates; all labelled texts but the first use the second template."""
        reader = self.without_template(shared=True)
        texts = columns * 2 if len(columns) == 1 else columns
        return [self.in_template(column, min(place, 1), reader) for place, column in enumerate(texts)]


METHOD = Method(
    title="PromptBERT (Jiang et al., EMNLP 2022)",
    about="Two templates with a [MASK] token as views; the template bias, the state without a sentence, is "
    "subtracted.",
    loss=PromptBERTLoss,
    settings=PromptBERT,
    encodes=2.2,  # two passes, and one pass of the bare template for each length in a batch
    pairs=True,
    reads_weights=True,
    prepare=prepare,
)
