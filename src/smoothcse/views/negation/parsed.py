"""Negation of a parsed sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

BE = frozenset({"am", "is", "are", "was", "were"})
MODALS = frozenset({"can", "could", "will", "would", "shall", "should", "may", "might", "must", "ought"})
CLIPPED = {"ca": "can", "wo": "will", "sha": "shall"}
"""Full forms of modals whose spelling changes before "n't"."""

NOT = frozenset({"not", "n't", "n’t"})

_DO = {"VBP": "do", "VBZ": "does", "VBD": "did"}


class Token(Protocol):
    """Attributes of a spaCy token that negation reads.

    Attributes:
        text: Text of the token.
        whitespace_: Space after the token, or an empty string.
        tag_: Part of speech as a Penn Treebank tag, such as ``VBZ``.
        dep_: Dependency relation to its head, such as ``aux`` or ``ROOT``.
        lemma_: Base form.
    """

    text: str
    whitespace_: str
    tag_: str
    dep_: str
    lemma_: str


def negate_parsed(tokens: Iterable[Token]) -> str:
    """Negate a sentence by the rule of SNCSE (Wang et al., arXiv 2201.05979).

    The first "not" is removed. If there is none, the first auxiliary or root is negated: an auxiliary, a modal or a
    form of "be" is followed by "not", and another finite verb becomes "do not", "does not" or "did not" with its base
    form. In all other cases the sentence is preceded by "Not".

    Two details differ from the released code. Spaces are preserved, so that the two sentences differ only by the
    negation; and "n't" counts as "not".

    Args:
        tokens: Tokens of one sentence, in order.
    """
    tokens = list(tokens)
    place = next((place for place, token in enumerate(tokens) if token.text.lower() in NOT), None)
    if place is not None:
        return _without(tokens, place)
    place = next((place for place, token in enumerate(tokens) if token.dep_ in ("aux", "auxpass", "ROOT")), None)
    negated = None if place is None else _negated(tokens[place])
    if place is None or negated is None:
        return "Not " + _joined(tokens)
    return _joined(tokens[:place]) + negated + tokens[place].whitespace_ + _joined(tokens[place + 1 :])


def _without(tokens: Sequence[Token], place: int) -> str:
    """Return a sentence without the "not" at a position; the token before it takes over the space after it."""
    if place == 0:
        return _joined(tokens[1:])
    before = tokens[place - 1]
    word = CLIPPED.get(before.text.lower(), before.text) if tokens[place].text.lower() != "not" else before.text
    return (
        _joined(tokens[: place - 1])
        + with_case_of(before.text, word)
        + tokens[place].whitespace_
        + _joined(tokens[place + 1 :])
    )


def _negated(token: Token) -> str | None:
    """Return the negated form of an auxiliary or root; None if it cannot be negated."""
    word = token.text.lower()
    finite_be = token.lemma_ == "be" and token.tag_ in _DO  # includes "'s" and "'re"
    if token.dep_ in ("aux", "auxpass") or word in BE or word in MODALS or token.tag_ == "MD" or finite_be:
        return f"{token.text} not"
    if token.tag_ in _DO:
        return f"{with_case_of(token.text, _DO[token.tag_])} not {token.lemma_.lower()}"
    return None


def with_case_of(before: str, word: str) -> str:
    """Capitalise a word if the word that it replaces is capitalised."""
    return word[:1].upper() + word[1:] if before[:1].isupper() else word


def _joined(tokens: Sequence[Token]) -> str:
    return "".join(token.text + token.whitespace_ for token in tokens)
