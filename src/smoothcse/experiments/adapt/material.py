"""What an adaptation learns from and is judged by: the passages to train on, and the probe of held-out documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from smoothcse._utils.atomic import open_atomic
from smoothcse.corpus.documents import DocumentCorpus
from smoothcse.encoders.inference import token_counts
from smoothcse.evaluation.probe import RetrievalProbe, make_probe
from smoothcse.experiments.adapt.judge import Judge
from smoothcse.experiments.adapt.layout import TEXT
from smoothcse.experiments.adapt.verdict import LEAST_DOCUMENTS
from smoothcse.views.sentence import count_sentences

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MOST_HELD_OUT = 400
"""Maximum number of held-out documents; half of them judge, which puts the interval of the MRR at about ±2."""

MOST_TOKENS = 64
"""Maximum tokens of a training text. Longer passages are truncated, so that a step costs less."""

MOST_SEARCHED = 3000
"""Maximum number of documents among which a held-out one must be found, which bounds the duration of a scoring."""

_HELD_OUT_SHARE = 0.15
_LEAST_HELD_OUT = 2 * LEAST_DOCUMENTS  # as far as half of the documents suffice
_FEW_DOCUMENTS = 2 * _LEAST_HELD_OUT  # below it, passages are held out: half of the documents give no verdict
_LEAST_TOKENS = 16
_SAMPLE = 1000
_ENOUGH = 0.5


@dataclass(frozen=True, eq=False)
class Material:
    """Texts of an adaptation.

    Attributes:
        judge: Probe of the held-out documents.
        training_file: JSON lines with the passages that may be trained on, fields ``text`` and ``title``.
        passages: Number of these passages.
        titled: Number of these passages that have a title.
        several_sentences: Whether at least half of them have several sentences.
        titles: Whether at least half of them have a title.
        max_length: Tokens per training text.
    """

    judge: Judge
    training_file: Path
    passages: int
    titled: int
    several_sentences: bool
    titles: bool
    max_length: int


def prepare_material(
    corpus: DocumentCorpus, start: SentenceTransformer, folder: Path, *, seed: int, language: str
) -> Material:
    """Hold out a part of the documents, and write the passages of the others.

    Args:
        corpus: Passages of the documents.
        start: Encoder to adapt, whose tokenizer counts tokens.
        folder: Folder for the training file.
        seed: Seed of the choice.
        language: ISO 639 code of the language.

    Raises:
        SmoothCSEError: If too few documents are suitable for a probe.
    """
    probe = _make_probe(corpus, seed, language)
    file = folder / TEXT
    passages, titled = _write(corpus, probe, file)
    texts, titles = _sample(file)
    return Material(
        judge=Judge(probe),
        training_file=file,
        passages=passages,
        titled=titled,
        several_sentences=_share(count_sentences(text, language=language) > 1 for text in texts) >= _ENOUGH,
        titles=_share(bool(title) for title in titles) >= _ENOUGH,
        max_length=_max_length(token_counts(start, texts)),
    )


def _make_probe(corpus: DocumentCorpus, seed: int, language: str) -> RetrievalProbe:
    dataset = corpus.dataset
    sources = dataset["document"][:]
    documents = len(set(sources))
    whole = documents >= _FEW_DOCUMENTS
    return make_probe(
        dataset["text"][:],
        titles=dataset["title"][:],
        sources=sources if whole else None,
        held_out=MOST_HELD_OUT if whole else _held_out(len(dataset)),
        held_out_sources=_held_out(documents) if whole else None,
        among=MOST_SEARCHED,
        seed=seed,
        language=language,
    )


def _held_out(count: int) -> int:
    """Return the number of documents to hold out of so many."""
    return max(2, min(MOST_HELD_OUT, max(int(_HELD_OUT_SHARE * count), min(_LEAST_HELD_OUT, count // 2))))


def _write(corpus: DocumentCorpus, probe: RetrievalProbe, file: Path) -> tuple[int, int]:
    """Write the passages that may be trained on; return their number, and the number of those with a title."""
    count, titled = 0, 0
    with open_atomic(file) as target:
        for text, title in _rows(corpus):
            if probe.allows(text):
                target.write(json.dumps({"text": text, "title": title}, ensure_ascii=False).encode() + b"\n")
                count += 1
                titled += bool(title)
    return count, titled


def _rows(corpus: DocumentCorpus) -> Iterator[tuple[str, str]]:
    for batch in corpus.dataset.select_columns(["text", "title"]).iter(batch_size=1000):
        yield from zip(batch["text"], batch["title"], strict=True)


def _sample(file: Path) -> tuple[list[str], list[str]]:
    """Return texts and titles of the first training passages."""
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for _, line in zip(range(_SAMPLE), lines, strict=False)]
    return [row["text"] for row in rows], [row["title"] for row in rows]


def _share(values: Iterator[bool]) -> float:
    kept = list(values)
    return sum(kept) / max(1, len(kept))


def _max_length(counts: np.ndarray) -> int:
    """Return the tokens that cover nine passages of ten, a multiple of 8, at most :data:`MOST_TOKENS`."""
    covering = float(np.quantile(counts, 0.9)) if len(counts) else _LEAST_TOKENS
    return min(MOST_TOKENS, max(_LEAST_TOKENS, 8 * int(np.ceil(covering / 8))))
