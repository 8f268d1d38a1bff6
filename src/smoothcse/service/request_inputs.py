"""Inputs of embedding requests: one text, several texts, or token ids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

TokenIds = list[int]
"""Ids of the tokens of one text."""


def _texts_or_ids(value: Any) -> Any:
    """Refuse other inputs with one sentence instead of one for each alternative."""
    if isinstance(value, str) or _all_are(value, str) or _all_are(value, int):
        return value
    if isinstance(value, list) and all(isinstance(row, str) or _all_are(row, int) for row in value):
        return value
    raise PydanticCustomError("text", "must be a text, a list of texts, or lists of token ids")


def _all_are(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(type(entry) is kind for entry in value)


Input = Annotated[str | list[str | TokenIds] | TokenIds, BeforeValidator(_texts_or_ids)]
"""One input, or a list of inputs; each is a text or the ids of its tokens."""


async def as_texts(given: Input, decode: Callable[[Sequence[TokenIds]], Awaitable[list[str]]]) -> list[str]:
    """Return the texts of a request.

    Args:
        given: Checked input of a request.
        decode: Function that returns the text of each list of token ids.
    """
    if isinstance(given, str):
        return [given]
    rows: Sequence[Any] = [given] if given and isinstance(given[0], int) else given
    decoded = iter(await decode(ids) if (ids := [row for row in rows if not isinstance(row, str)]) else [])
    return [row if isinstance(row, str) else next(decoded) for row in rows]
