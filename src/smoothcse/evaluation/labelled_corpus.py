"""Labelled queries whose documents are looked up in a corpus, and ranked among all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from smoothcse.corpus.documents.extracted import canonical, fold
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.retrieval import RetrievalTask
from smoothcse.evaluation.retrieval_data import make_task

_FIRST_WORDS = 5
"""Words by which passages are looked up; shorter passages are not."""

_SHARE = 0.5
"""Least share of a labelled document's words that its passages in the corpus must hold."""


def add_corpus(
    task: RetrievalTask, untitled: Sequence[str], corpus: Sequence[str], label: str
) -> tuple[RetrievalTask, list[str]]:
    """Return a task whose labelled documents are ranked among the documents of a corpus.

    A labelled document is found in the corpus by its text, with or without its title and whatever the white space; or
    else by passages that it was split into and that hold at least half of its words, each of which then counts as an
    answer. What is not found is added to the documents searched. Equal documents of the corpus count once.

    Args:
        task: Labelled queries with their documents.
        untitled: The task's documents without their titles, in the same order.
        corpus: Documents or passages of the corpus.
        label: Name of the labels in messages.

    Returns:
        The task, and a note for each way in which labels and corpus differ.

    Raises:
        SmoothCSEError: If the corpus has none of the documents that answer a query.
    """
    answers = set(task.relevant.flatten().tolist())
    searched = _Searched(corpus)
    found = {number: searched.find((task.documents[number], untitled[number])) for number in range(len(untitled))}
    missing = sum(not found[number] for number in answers)
    split = sum(len(found[number]) > 1 for number in answers)
    if missing == len(answers):
        raise SmoothCSEError(
            f"None of the {len(answers):,} labelled documents of {label} is among the {len(corpus):,} documents of "
            "the corpus; give labels for this corpus, or the corpus that they are for."
        )
    places = {number: found[number] or [searched.add(task.documents[number])] for number in found}
    of = f"of {len(answers):,} labelled documents of {label}"
    notes = []
    if missing:
        notes.append(f"{missing:,} {of} are not in the corpus; they are added to what is searched.")
    if split:
        notes.append(f"{split:,} {of} are split into passages in the corpus; each passage counts as an answer.")
    return make_task(task.name, task.queries, searched.documents, _answers(task, places), label), notes


class _Searched:
    """Distinct documents to search.

    Args:
        documents: Documents or passages of the corpus.

    Attributes:
        documents: Texts as given, of equal ones the first.
    """

    def __init__(self, documents: Iterable[str]) -> None:
        self.documents: list[str] = []
        self._place_of: dict[str, int] = {}
        for text in documents:
            self.add(text)
        self._words = list(self._place_of)
        self._by_first_words: dict[str, list[int]] = {}
        for place, text in enumerate(self._words):
            words = text.split(" ", _FIRST_WORDS)
            if len(words) >= _FIRST_WORDS:
                self._by_first_words.setdefault(" ".join(words[:_FIRST_WORDS]), []).append(place)

    def add(self, text: str) -> int:
        """Return the place of a document, which is added if it is new."""
        place = self._place_of.setdefault(_words(text), len(self.documents))
        if place == len(self.documents):
            self.documents.append(text)
        return place

    def find(self, forms: Iterable[str]) -> list[int]:
        """Return the places of a document in the corpus, given with and without its title; empty if there are none."""
        words = [_words(text) for text in forms]
        exact = [self._place_of[text] for text in words if text in self._place_of]
        return exact[:1] or self._passages(words[-1])

    def _passages(self, document: str) -> list[int]:
        """Return the places of a document's passages, or nothing if they hold less than half of its words."""
        words = document.split(" ")
        found: dict[int, int] = {}
        start = 0
        for number, word in enumerate(words):
            for place in self._by_first_words.get(" ".join(words[number : number + _FIRST_WORDS]), ()):
                if document.startswith(self._words[place], start):
                    found[place] = self._words[place].count(" ") + 1
            start += len(word) + 1
        return sorted(found) if sum(found.values()) >= _SHARE * len(words) else []


def _words(text: str) -> str:
    return fold(canonical(text))


def _answers(task: RetrievalTask, places: Mapping[int, Sequence[int]]) -> list[dict[int, float]]:
    """Return the gain of each answer by its place, for each query."""
    rows = []
    for number in range(len(task.queries)):
        relevant, gains = task.judgements(slice(number, number + 1))
        documents = relevant.flatten().tolist()
        values = [1.0] * len(documents) if gains is None else gains.flatten().tolist()
        row: dict[int, float] = {}
        for document, gain in zip(documents, values, strict=True):
            for place in places[document]:
                row[place] = max(gain, row.get(place, 0.0))
        rows.append(row)
    return rows
