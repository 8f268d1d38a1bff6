"""DebCSE, our interpretation of its abstract; the formulas are in :mod:`smoothcse.objectives.debcse`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from smoothcse._utils.validation import CHECKED
from smoothcse.methods.base import ContrastiveLoss
from smoothcse.methods.settings import MethodSettings
from smoothcse.methods.table import Method
from smoothcse.views.drawn_pairs import DebCSESettings, draw_pairs
from smoothcse.views.further import FurtherTexts

if TYPE_CHECKING:
    from datasets import Dataset
    from rich.console import Console
    from sentence_transformers import SentenceTransformer

_AT_A_TIME = 1000


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class DebCSE(MethodSettings, DebCSESettings):
    """Settings of DebCSE: those of the draws in :mod:`smoothcse.views.drawn_pairs`."""

    name: Literal["debcse"] = "debcse"


def add_pairs(
    sentences: Dataset, model: SentenceTransformer, settings: DebCSE, seed: int, console: Console
) -> FurtherTexts:
    """Return a drawn positive and a drawn hard negative for each sentence.

    Args:
        sentences: Dataset with the column ``sentence``.
        model: Untrained encoder.
        settings: Settings of the draws.
        seed: Seed of the draws.
        console: Console for the progress bar.
    """
    positives, negatives = draw_pairs(sentences, model, settings, seed, console)

    def batches() -> Iterator[Sequence[list[str]]]:
        for first in range(0, len(sentences), _AT_A_TIME):
            part = slice(first, first + _AT_A_TIME)
            yield [sentences.select(drawn[part])["sentence"][:] for drawn in (positives, negatives)]

    own = (positives == range(len(sentences))).mean()
    return FurtherTexts(("positive", "negative"), batches(), f"{own:.0%} of the sentences are their own positives")


METHOD = Method(
    title="DebCSE, our interpretation of the abstract of Miao, Du and Zhang (CIKM 2023), which gives no formulas",
    about="Positives with similar meaning but different words, and hard negatives with similar words but different "
    "meaning, sampled from the corpus by inverse propensity.",
    loss=ContrastiveLoss,
    settings=DebCSE,
    encodes=3.0,
    columns=3,
    add_texts=add_pairs,
)
