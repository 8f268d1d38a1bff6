"""Choice of the columns of a table that contain the text."""

from __future__ import annotations

from collections.abc import Sequence

from smoothcse.errors import SmoothCSEError, did_you_mean, some_of

USUAL_NAMES = ("sentence", "text")

_SHOWN = 20


def choose_column(label: str, names: Sequence[str], text_names: Sequence[str], wanted: str | None) -> str:
    """Choose the column to read.

    Args:
        label: Name of the file in messages.
        names: All columns of the file.
        text_names: Columns that contain text, a subset of ``names``.
        wanted: Requested column. None chooses ``sentence``, else ``text``, else the only text column.

    Returns:
        One of ``text_names``.

    Raises:
        SmoothCSEError: If the column is missing or does not contain text, or the choice is ambiguous.
    """
    # A usual name without text is an error, not a reason to choose another column silently.
    wanted = wanted or next((name for name in USUAL_NAMES if name in names), None)
    if wanted is not None:
        return _wanted_column(label, names, text_names, wanted)
    if len(text_names) == 1:
        return text_names[0]
    if not text_names:
        raise SmoothCSEError(f"{label} has no column of text among {_listed(names)}: give a file that has one.")
    raise SmoothCSEError(f"{label} has several columns of text, {_listed(text_names)}: choose one with `column`.")


def choose_columns(
    label: str, names: Sequence[str], text_names: Sequence[str], wanted: Sequence[str] | None
) -> list[str]:
    """Choose the columns to read.

    Args:
        label: Name of the file in messages.
        names: All columns of the file.
        text_names: Columns that contain text, a subset of ``names``.
        wanted: Requested columns. None chooses one column, as :func:`choose_column` does.

    Returns:
        Some of ``text_names``, in the order of ``wanted``.

    Raises:
        SmoothCSEError: If a column is missing or does not contain text, or the choice is ambiguous.
    """
    if wanted is None:
        return [choose_column(label, names, text_names, None)]
    return [_wanted_column(label, names, text_names, name) for name in wanted]


def _wanted_column(label: str, names: Sequence[str], text_names: Sequence[str], wanted: str) -> str:
    if wanted in text_names:
        return wanted
    if wanted in names:
        raise SmoothCSEError(
            f"{label}: column {wanted!r} does not contain text; choose one that does: {_listed(text_names)}."
        )
    raise SmoothCSEError(f"{label} has no column {wanted!r}; it has {_listed(names)}.{did_you_mean(wanted, names)}")


def _listed(names: Sequence[str]) -> str:
    return some_of([repr(name) for name in names], _SHOWN) or "none"
