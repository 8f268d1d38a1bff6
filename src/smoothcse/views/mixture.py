"""Views drawn from text, several kinds of them mixed by weight."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING

from smoothcse.views.crops import crops
from smoothcse.views.neighbours import neighbour
from smoothcse.views.row_random import row_random
from smoothcse.views.sentence import sentence_and_rest
from smoothcse.views.window import window

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class TextViews:
    """The two views of each row of a corpus, drawn anew in each epoch.

    A draw is a function of the seed, the epoch and the row, whatever the batch, the rank and the process.

    Attributes:
        dataset: Column ``sentence``, in the order of the documents, and for the view ``title`` a column ``title``.
        weights: Weight of each view, from :func:`~smoothcse.views.choice.read_views`.
        seed: Seed of the run.
        lengths: Minimum and maximum length of a crop, see :func:`~smoothcse.views.crops.crops`.
        deletion: Probability of deleting a word of a crop.
        language: ISO 639 code of the language, for the ends of sentences.
    """

    dataset: Dataset
    weights: Mapping[str, float]
    seed: int
    lengths: Sequence[float] = (0.2, 0.6)
    deletion: float = 0.0
    language: str = "en"

    def draw(self, rows: Sequence[int], epoch: int) -> list[list[str]]:
        """Return the first views and the second views of some rows in an epoch; none of them is empty."""
        needed = self._with_neighbours(rows) if "neighbours" in self.weights else list(rows)
        columns = self.dataset[needed]
        texts = dict(zip(needed, columns["sentence"], strict=True))
        titles = dict(zip(needed, columns.get("title", columns["sentence"]), strict=True))
        pairs = [self._pair(row, row_random(self.seed, epoch, row), texts, titles) for row in rows]
        return [list(views) for views in zip(*pairs, strict=True)]

    def _pair(self, row: int, random: Random, texts: Mapping[int, str], titles: Mapping[int, str]) -> tuple[str, str]:
        text = texts[row]
        match self._choose(random):
            case "crops":
                return crops(window(text, random), random, lengths=self.lengths, deletion=self.deletion)
            case "sentence":
                return sentence_and_rest(window(text, random), random, language=self.language)
            case "neighbours":
                return text, texts[neighbour(row, len(self.dataset), random)]
            case "title":
                return titles[row], text
            case _:  # two equal texts, which dropout tells apart
                return text, text

    def _choose(self, random: Random) -> str:
        names = list(self.weights)
        if len(names) == 1:
            return names[0]
        bounds = list(accumulate(self.weights.values()))
        return names[min(bisect(bounds, random.random() * bounds[-1]), len(names) - 1)]

    def _with_neighbours(self, rows: Sequence[int]) -> list[int]:
        around = {row + step for row in rows for step in (-1, 0, 1)}
        return sorted(row for row in around if 0 <= row < len(self.dataset))
