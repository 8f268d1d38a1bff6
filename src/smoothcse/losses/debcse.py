"""DebCSE for the trainer, our reading of its abstract; :mod:`smoothcse.objectives.debcse` has its formulas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from smoothcse.corpus.further import FurtherTexts
from smoothcse.losses.drawn_pairs import draw_pairs
from smoothcse.losses.gs_info_nce import GSInfoNCELoss
from smoothcse.losses.methods import CHECKED, Method

if TYPE_CHECKING:
    from datasets import Dataset
    from rich.console import Console
    from sentence_transformers import SentenceTransformer

_AT_A_TIME = 1000


@dataclass(config=CHECKED, frozen=True)
class DebCSESettings:
    """Our values, chosen by looking at what they draw, and what they mean; the abstract has none."""

    candidates: Annotated[
        int, Field(ge=1, description="Nearest sentences by meaning, and as many by words, that a pair is drawn from.")
    ] = 64
    block_size: Annotated[
        int, Field(ge=2, description="Sentences among which neighbours are looked for; time and memory grow with it.")
    ] = 16384
    midpoint: Annotated[
        float,
        Field(ge=-1, le=1, description="m: similarity in meaning at which a pair is as likely alike as not."),
    ] = 0.65
    scale: Annotated[float, Field(ge=0.001, description="t: over how much of that similarity this chance rises.")] = (
        0.05
    )
    clip: Annotated[float, Field(gt=0, lt=0.5, description="c: the least propensity, which keeps weights finite.")] = (
        0.05
    )
    floor: Annotated[float, Field(ge=-1, le=1, description="Least similarity in meaning of a positive.")] = 0.55
    cap: Annotated[
        float, Field(ge=-1, le=1, description="Similarity in meaning that a hard negative must stay below.")
    ] = 0.45


def add_pairs(
    sentences: Dataset, model: SentenceTransformer, settings: DebCSESettings, seed: int, console: Console
) -> FurtherTexts:
    """Return a drawn positive and a drawn hard negative for each sentence.

    Args:
        sentences: with the column ``sentence``.
        model: the encoder as it starts.
        settings: of the draws.
        seed: of the draws.
        console: for a bar.
    """
    positives, negatives = draw_pairs(sentences, model, settings, seed, console)

    def batches() -> Iterator[Sequence[list[str]]]:
        for first in range(0, len(sentences), _AT_A_TIME):
            part = slice(first, first + _AT_A_TIME)
            yield [sentences.select(drawn[part])["sentence"][:] for drawn in (positives, negatives)]

    own = (positives == range(len(sentences))).mean()
    return FurtherTexts(("positive", "negative"), batches(), f"{own:.0%} of the sentences are their own positives")


METHOD = Method(
    title="DebCSE, our reading of the abstract of Miao, Du and Zhang (CIKM 2023), which gives no formulas",
    about="Positives of like meaning and unlike words, and hard negatives of like words and unlike meaning, drawn "
    "from the corpus by inverse propensity.",
    loss=GSInfoNCELoss,
    settings=DebCSESettings,
    encodes=3.0,
    columns=3,
    add_texts=add_pairs,
)
