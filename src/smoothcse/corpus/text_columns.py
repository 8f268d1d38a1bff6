"""Which columns of a table hold the text."""

from __future__ import annotations

from collections.abc import Sequence

from smoothcse.errors import SmoothCSEError, did_you_mean, some_of

USUAL_NAMES = ("sentence", "text")

_SHOWN = 20


def choose_column(label: str, names: Sequence[str], text_names: Sequence[str], wanted: str | None) -> str:
    """Choose the column to read.

    Args:
        label: What messages call the file.
        names: Every column of the file.
        text_names: Those among them that hold text.
        wanted: The column the user asked for, or None for ``sentence``, else ``text``, else the only one.

    Returns:
        A name out of ``text_names``.

    Raises:
        SmoothCSEError: When the column is missing or holds no text, or when there is a choice to make.
    """
    # A usual name that holds no text is an error, not a reason to take another column in silence.
    wanted = wanted or next((name for name in USUAL_NAMES if name in names), None)
    if wanted is not None:
        return _wanted_column(label, names, text_names, wanted)
    if len(text_names) == 1:
        return text_names[0]
    if not text_names:
        raise SmoothCSEError(f"{label} has no column of text among {_listed(names)}: give a file that has one.")
    raise SmoothCSEError(f"{label} has several columns of text, {_listed(text_names)}: say which one with `column`.")


def choose_columns(
    label: str, names: Sequence[str], text_names: Sequence[str], wanted: Sequence[str] | None
) -> list[str]:
    """Return the columns that the user asked for; where there are none, the one that :func:`choose_column` takes.

    Raises:
        SmoothCSEError: as :func:`choose_column`.
    """
    if wanted is None:
        return [choose_column(label, names, text_names, None)]
    return [_wanted_column(label, names, text_names, name) for name in wanted]


def _wanted_column(label: str, names: Sequence[str], text_names: Sequence[str], wanted: str) -> str:
    if wanted in text_names:
        return wanted
    if wanted in names:
        raise SmoothCSEError(f"{label}: column {wanted!r} does not hold text; those that do: {_listed(text_names)}.")
    raise SmoothCSEError(f"{label} has no column {wanted!r}; it has {_listed(names)}.{did_you_mean(wanted, names)}")


def _listed(names: Sequence[str]) -> str:
    return some_of([repr(name) for name in names], _SHOWN) or "none"
