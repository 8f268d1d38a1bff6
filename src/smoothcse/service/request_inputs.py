"""Inputs of embedding requests: one text, several texts, or token ids."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from smoothcse.service.limits import Limits

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

Decode = Callable[[Sequence[TokenIds]], Awaitable[list[str]]]
"""Function that returns the text of each list of token ids."""


async def texts_of(given: Input, field: str, limits: Limits, decode: Decode) -> list[str]:
    """Return the texts of a request within its limits.

    Args:
        given: Checked input of a request.
        field: Name of the request's field, for messages.
        limits: Limits on requests.
        decode: Function that returns the text of each list of token ids.

    Raises:
        Refusal: Status 400 or 413, see :meth:`Limits.check_texts`.
    """
    rows: Sequence[Any] = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    limits.check_count(len(rows), field)
    decoded = iter(await decode(ids) if (ids := [row for row in rows if not isinstance(row, str)]) else [])
    texts = [row if isinstance(row, str) else next(decoded) for row in rows]
    limits.check_texts(texts, field)
    return texts
