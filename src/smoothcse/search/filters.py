"""Metadata filters: from plain values, as they come over the network, to the database's language."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smoothcse.errors import SmoothCSEError, did_you_mean

_COMPARISONS = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<", "ne": "!="}

Filter = Mapping[str, Any]
"""``{"year": {"gte": 2020}, "source": ["a", "b"], "draft": False}``: all of them must hold."""


def to_sql(where: Filter, fields: Sequence[str]) -> str:
    """Translate a filter.

    Args:
        where: field to a value, to a list of values, to a comparison (``gte``, ``gt``, ``lte``, ``lt``, ``ne``), or to
            None for a missing value.
        fields: that there are; no other name gets into the result.

    Raises:
        SmoothCSEError: for an unknown field or comparison, or a value that is no string, finite number or truth value.
    """
    return " AND ".join(condition for name, value in where.items() for condition in _conditions(name, value, fields))


def _conditions(name: str, value: Any, fields: Sequence[str]) -> Iterator[str]:
    if name not in fields:
        known = ", ".join(fields) or "none"
        raise SmoothCSEError(f"The index has no field {name!r}; it has {known}.{did_you_mean(str(name), fields)}")
    column = "`" + name.replace("`", "``") + "`"
    if value is None:
        yield f"{column} IS NULL"
    elif isinstance(value, list | tuple):
        yield f"{column} IN ({', '.join(_literal(name, entry) for entry in value)})" if value else "false"
    elif isinstance(value, Mapping):
        if not value:
            raise SmoothCSEError(f"Field {name!r} has an empty comparison; use one of {', '.join(_COMPARISONS)}.")
        for comparison, bound in value.items():
            if comparison not in _COMPARISONS:
                raise SmoothCSEError(
                    f"Field {name!r}: there is no comparison {comparison!r}; use one of {', '.join(_COMPARISONS)}."
                )
            yield f"{column} {_COMPARISONS[comparison]} {_literal(name, bound)}"
    else:
        yield f"{column} = {_literal(name, value)}"


def _literal(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value)
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    raise SmoothCSEError(
        f"Field {name!r} is compared with strings, finite numbers, true and false, not with {value!r}."
    )
