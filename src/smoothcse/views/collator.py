"""From rows of a corpus to batches whose two columns are views drawn from the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from smoothcse.encoders.prompts import prompt_of
from smoothcse.views.choice import input_types
from smoothcse.views.mixture import TextViews

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

ROW = "row"
"""Column of the dataset that the trainer reads: the rows of the corpus."""


_COLUMNS = ("sentence", "positive")


class CollateViews:
    """Draws the views of a batch of rows, and tokenises them as the host's collator does.

    Each view has the prompt of its role, see :func:`~smoothcse.views.choice.input_types`.

    The epoch lies in shared memory, where worker processes see it, persistent ones included.

    Args:
        views: Views of the corpus.
        model: Encoder whose tokenizer is used.
        max_length: Tokens per view.
    """

    valid_label_columns: tuple[str, ...] = ()  # the host asks for it

    def __init__(self, views: TextViews, model: SentenceTransformer, max_length: int) -> None:
        self.views = views
        prompts = dict(zip(_COLUMNS, view_prompts(model, views.weights), strict=True))
        self._host = SentenceTransformerDataCollator(model.preprocess, max_length=max_length, prompts=prompts)
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw the following batches for an epoch, from 0."""
        self._epoch.fill_(epoch)

    def __call__(self, rows: list[dict[str, int]]) -> dict[str, Any]:
        """Return the features of the first views and of the second views."""
        firsts, seconds = self.views.draw([row[ROW] for row in rows], int(self._epoch))
        texts = [dict(zip(_COLUMNS, pair, strict=True)) for pair in zip(firsts, seconds, strict=True)]
        batch: dict[str, Any] = self._host(texts)
        return batch


def view_prompts(model: SentenceTransformer, weights: Mapping[str, float]) -> list[str]:
    """Return the prompts of the first and of the second of the views drawn from text, empty for none.

    Args:
        model: Encoder.
        weights: Weight of each view.
    """
    return [prompt_of(model, role) for role in input_types(weights)]


def rows_of(views: TextViews) -> Dataset:
    """Return the dataset of row numbers that the trainer shuffles and divides among ranks."""
    from datasets import Dataset

    return Dataset.from_dict({ROW: range(len(views.dataset))})
