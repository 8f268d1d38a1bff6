"""ConPVP; its formulas are in :mod:`smoothcse.objectives.conpvp`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass
from sentence_transformers import SentenceTransformer

from smoothcse._utils.validation import CHECKED
from smoothcse.encoders.templates import with_template
from smoothcse.methods.prompted import PromptedLoss
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import Method
from smoothcse.objectives.conpvp import draw_templates
from smoothcse.views.embed import Features

# The paper's number of templates of each kind. The first three of each kind are published; the others are our own, in
# the same style.
POSITIVE = (
    "Given {sentence} , we assume that {mask} .",
    "{sentence} . In summary : {mask} .",
    "This sentence : {sentence} means {mask} .",
    "From {sentence} it follows that {mask} .",
    "{sentence} . In other words : {mask} .",
    "To say {sentence} is to say {mask} .",
    "If {sentence} , then also {mask} .",
    "{sentence} . This tells us {mask} .",
    "The meaning of {sentence} is {mask} .",
)
NEGATIVE = (
    "Without {sentence} they mean {mask} .",
    "{sentence} is inconsistent to {mask} .",
    "This sentence : {sentence} not means {mask} .",
    "From {sentence} it does not follow that {mask} .",
    "{sentence} . It is wrong to say : {mask} .",
    "To say {sentence} is to deny {mask} .",
    "If {sentence} , then never {mask} .",
    "The opposite of {sentence} is {mask} .",
)


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class ConPVP(MethodSettings):
    """Settings of ConPVP; the default is the published value."""

    name: Literal["conpvp"] = "conpvp"
    prompt_tokens: Annotated[
        int, Field(ge=1, le=32, description="k, learned tokens between the sentence and the mask.")
    ] = 4


def anchor_template(settings: ConPVP) -> tuple[str, list[str]]:
    """Return the template of the anchors, ``X p1 .. pk [MASK] .``, and its learned tokens."""
    tokens = [f"<prompt-{number}>" for number in range(1, settings.prompt_tokens + 1)]
    return f"{{sentence}} {' '.join(tokens)} {{mask}} .", tokens


def prepare(model: SentenceTransformer, settings: ConPVP) -> SentenceTransformer:
    """Return the encoder with the template of learned tokens, which are words of its vocabulary."""
    return with_template(model, *anchor_template(settings))


class ConPVPLoss(PromptedLoss):
    """ConPVP (Zeng et al., Findings of EMNLP 2022).

    The templates of a sentence's prototypes are drawn again at each step; the released code draws them once.

    Args:
        model: Encoder, from :func:`prepare`.
        settings: Settings of the method.
        **others: Arguments of :class:`~smoothcse.methods.base.ContrastiveLoss`.
    """

    def __init__(self, model: SentenceTransformer, *, settings: ConPVP | None = None, **others: Any) -> None:
        settings = settings or ConPVP()
        anchor, _ = anchor_template(settings)
        super().__init__(model, templates=[anchor, *POSITIVE, *NEGATIVE], settings=settings, **others)

    def views(self, columns: list[Features]) -> list[Features]:
        """Return the sentences as anchors, in positive templates and in negative templates.

        For labelled texts, the second column gives the positive prototypes, and the third column the negative ones.
        """
        anchors, positives = columns[0], columns[min(1, len(columns) - 1)]
        drawn = draw_templates(
            anchors["input_ids"],
            anchors["attention_mask"],
            (len(POSITIVE), len(NEGATIVE)),
            seed=self.seed,
            step=self.current_step(),
        )
        reader = self.without_template(shared=False)
        return [
            self.in_template(anchors, 0, reader),
            self.in_template(positives, 1 + drawn[0], reader),
            self.in_template(columns[-1], 1 + len(POSITIVE) + drawn[1], reader),
        ]


METHOD = Method(
    title="ConPVP (Zeng et al., Findings of EMNLP 2022)",
    about="Prompts with learned tokens for anchors, affirming templates for positives and negating templates for hard "
    "negatives; the template bias is subtracted.",
    loss=ConPVPLoss,
    settings=ConPVP,
    encodes=6.0,
    pairs=True,
    learns_tokens=True,
    reads_weights=True,
    prepare=prepare,
)
