"""The negation of a parsed sentence: a function of its tokens alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

BE = frozenset({"am", "is", "are", "was", "were"})
MODALS = frozenset({"can", "could", "will", "would", "shall", "should", "may", "might", "must", "ought"})
CLIPPED = {"ca": "can", "wo": "will", "sha": "shall"}
"""What a modal is called once its "n't" is gone."""

NOT = frozenset({"not", "n't", "n’t"})

_DO = {"VBP": "do", "VBZ": "does", "VBD": "did"}


class Token(Protocol):
    """What is asked of a token, by the names that spaCy gives it; the tags are those of the Penn Treebank.

    Attributes:
        text: as written.
        whitespace_: the blank behind it, or nothing.
        tag_: part of speech, such as ``VBZ``.
        dep_: relation to its head, such as ``aux`` or ``ROOT``.
        lemma_: the word's base form.
    """

    text: str
    whitespace_: str
    tag_: str
    dep_: str
    lemma_: str


def negate_parsed(tokens: Iterable[Token]) -> str:
    """Negate a sentence by the rule of SNCSE (Wang et al., arXiv 2201.05979).

    The first "not" is taken away. Where there is none, the first auxiliary or root decides, whichever comes first: an
    auxiliary, a modal or a form of "be" gets a "not" behind it, and another finite verb becomes "do not", "does not"
    or "did not" with its base form. Everything else gets a "Not" in front.

    Two things differ from the released code. Blanks stay where they were, so that nothing but the negation tells the
    two sentences apart; and "n't" counts as "not".

    Args:
        tokens: of one sentence, in order.
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
    """Return a sentence without the "not" at a place; what stands before it takes over the blank behind it."""
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
    """Return an auxiliary or root with its "not"; None for one that takes none."""
    word = token.text.lower()
    finite_be = token.lemma_ == "be" and token.tag_ in _DO  # "'s" and "'re" among them
    if token.dep_ in ("aux", "auxpass") or word in BE or word in MODALS or token.tag_ == "MD" or finite_be:
        return f"{token.text} not"
    if token.tag_ in _DO:
        return f"{with_case_of(token.text, _DO[token.tag_])} not {token.lemma_.lower()}"
    return None


def with_case_of(before: str, word: str) -> str:
    """Return a word with a capital letter where the word whose place it takes has one."""
    return word[:1].upper() + word[1:] if before[:1].isupper() else word


def _joined(tokens: Sequence[Token]) -> str:
    return "".join(token.text + token.whitespace_ for token in tokens)
