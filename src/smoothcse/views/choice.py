"""The views that a run can choose, by name, and mixtures of them by weight; imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from smoothcse._utils.choices import InputType
from smoothcse.errors import SmoothCSEError, did_you_mean

VIEWS = {
    "dropout": "the text twice, under different dropout",
    "crops": "two random spans of the text",
    "sentence": "one sentence and the rest of its passage",
    "neighbours": "the text and the text before or after it",
    "title": "the title and the text",
}
"""Name of each way to make two views of a text, and what the two views are."""

DROPOUT = "dropout"

_ASYMMETRIC = {"sentence", "title"}  # the first view is short and asks for the second


def read_views(given: object) -> dict[str, float]:
    """Return the weight of each view, in the order of :data:`VIEWS`.

    Args:
        given: Name of a view, several as ``sentence=2,crops=1``, or a mapping of names to weights.

    Raises:
        SmoothCSEError: If there is no such view, or a weight is not a positive number.
    """
    weights = _split(given) if isinstance(given, str) else given
    if not isinstance(weights, Mapping) or not weights:
        raise SmoothCSEError(
            f"views is {given!r}, but must be a name, such as crops, or names with weights, such as "
            "sentence=2,crops=1 or {sentence: 2, crops: 1}."
        )
    for name, weight in weights.items():
        if name not in VIEWS:
            raise SmoothCSEError(
                f"views has no choice {name!r}: choose among {', '.join(VIEWS)}.{did_you_mean(str(name), VIEWS)}"
            )
        if not _is_weight(weight):
            raise SmoothCSEError(f"views: the weight of {name} is {weight!r}, but must be a number greater than 0.")
    return {name: float(weights[name]) for name in VIEWS if name in weights}


def input_types(views: Mapping[str, float]) -> tuple[InputType, InputType]:
    """Return the roles of the first and of the second view, which select their prompts.

    In views of different kinds, the first view is a query: a sentence asks for the rest of its passage, and a title
    for its text. A mixture with such a kind gives the first view of each row this role.

    Args:
        views: Weight of each view.
    """
    return ("query" if _ASYMMETRIC & set(views) else "document", "document")


def draws_text(views: Mapping[str, float]) -> bool:
    """Return whether views are drawn from the text, rather than by dropout alone."""
    return set(views) != {DROPOUT}


def describe_views(views: Mapping[str, float], lengths: Sequence[float], deletion: float) -> str:
    """Describe the views of a run in a few words.

    Args:
        views: Weight of each view.
        lengths: Minimum and maximum length of a crop.
        deletion: Probability of deleting a word of a crop.
    """
    total = sum(views.values())
    shares = [f"{weight / total:.0%} " if len(views) > 1 else "" for weight in views.values()]
    words = ", ".join(f"{share}{name} ({VIEWS[name]})" for share, name in zip(shares, views, strict=True))
    return f"{words}{_crop_words(lengths, deletion)}" if "crops" in views else words


def _crop_words(lengths: Sequence[float], deletion: float) -> str:
    shortest, longest = (f"{length:.0%}" if lengths[1] <= 1 else f"{length:g}" for length in lengths)
    deleted = f", {deletion:.0%} of them deleted" if deletion else ""
    return f"; crops have {shortest} to {longest}{' of the' if lengths[1] <= 1 else ''} words{deleted}"


def _split(text: str) -> dict[str, object]:
    weights: dict[str, object] = {}
    for entry in text.split(","):
        name, _, weight = (part.strip() for part in entry.partition("="))
        if name in weights:
            raise SmoothCSEError(f"views names {name} twice; name it once.")
        weights[name] = _number(weight) if weight else 1.0
    return weights


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
