"""Mined hard negatives for views drawn from text: for each document, the nearest other one by the untrained encoder.

The mask is that of DCLR (Zhou et al., ACL 2022): a document whose cosine similarity exceeds 0.9 counts as a false
negative, the document itself included. A run takes no hard negatives beside drawn views, so that the collator of the
trainer is replaced.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from harness import first_device
from sentence_transformers import SentenceTransformer

from smoothcse.corpus import load_sentences
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.training import trainer
from smoothcse.views.collator import ROW, CollateViews

FALSE_NEGATIVE = 0.9
"""Cosine similarity above which a document is a false negative."""


@contextmanager
def mined_negatives(encoder: str, text: Path) -> Iterator[float]:
    """Add a mined hard negative to each row of the runs inside; the value is the seconds that mining took.

    Args:
        encoder: Encoder that mines.
        text: File of the documents, column ``text``.
    """
    documents: list[str] = load_sentences(text, column="text").dataset["sentence"][:]
    model = load_encoder(encoder, device=first_device())
    started = time.perf_counter()
    negatives = mine(model, documents)
    seconds = time.perf_counter() - started
    del model
    with mock.patch.object(trainer, "CollateViews", collator_with(negatives)):
        yield seconds


def mine(model: SentenceTransformer, documents: list[str]) -> dict[str, str]:
    """Return the hard negative of each document."""
    embeddings = encode(model, documents, "document", normalize=True)
    scores = embeddings @ embeddings.T
    scores[scores > FALSE_NEGATIVE] = -np.inf
    return {text: documents[place] for text, place in zip(documents, scores.argmax(axis=1), strict=True)}


def collator_with(negatives: Mapping[str, str]) -> type[CollateViews]:
    """Return a collator class that adds the hard negative of each row's document as a third column."""

    class CollateMined(CollateViews):
        def __call__(self, rows: list[dict[str, int]]) -> dict[str, Any]:
            numbers = [row[ROW] for row in rows]
            firsts, seconds = self.views.draw(numbers, int(self._epoch))
            hard = [negatives[text] for text in self.views.dataset[numbers]["sentence"]]
            names = ("sentence", "positive", "hard_negative")
            texts = [dict(zip(names, row, strict=True)) for row in zip(firsts, seconds, hard, strict=True)]
            batch: dict[str, Any] = self._host(texts)
            return batch

    return CollateMined
