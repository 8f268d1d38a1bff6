"""The candidates of an adaptation: what each changes in the configuration that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BASE: Mapping[str, Any] = {
    "projection": False,
    "symmetric": True,
    "noise_count": 0,
    "batch_size": 48,
    "learning_rate": 2e-5,
    "dev": "none",
}
"""Fields that all candidates share: the encoder's own pooling, no projection head, no noise.

Neither the learning rate nor the noise is searched: a higher rate wins the short trials and loses most long runs, and
noise or a held noise share lowered the gain on each of three domains (docs/results/adaptation).
"""


@dataclass(frozen=True)
class Candidate:
    """Training settings to try.

    Attributes:
        name: Name, also that of the run folder.
        about: Description in a few words.
        changes: Fields that differ from :data:`BASE`.
    """

    name: str
    about: str
    changes: Mapping[str, Any]

    @property
    def needs_sentences(self) -> bool:
        """Whether the views need passages of several sentences."""
        return "sentence" in self.changes["views"]

    @property
    def needs_titles(self) -> bool:
        """Whether the views need titles."""
        return "title" in self.changes["views"]


CANDIDATES = (
    Candidate("sentence", "a sentence and the rest of its passage", {"views": "sentence"}),
    Candidate("crops", "two random spans of a passage", {"views": "crops"}),
    Candidate("sentence-crops", "sentence and crops in equal parts", {"views": "sentence=1,crops=1"}),
    Candidate("title", "the title and the passage", {"views": "title"}),
    Candidate("dropout", "the passage twice under dropout (SimCSE)", {"views": "dropout"}),
)
"""All candidates, the most promising first: a small budget tries the first ones only."""


def suitable_candidates(*, several_sentences: bool, titles: bool) -> list[Candidate]:
    """Return the candidates that suit a corpus.

    Args:
        several_sentences: Whether enough passages have several sentences.
        titles: Whether enough passages have a title.
    """
    return [
        candidate
        for candidate in CANDIDATES
        if (several_sentences or not candidate.needs_sentences) and (titles or not candidate.needs_titles)
    ]


def fields_of(candidate: Candidate) -> dict[str, Any]:
    """Return the configuration fields of a candidate."""
    return {**BASE, **candidate.changes}
