"""Filters on the metadata: translation of plain values, e.g. from JSON, into the database's language."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from reprlib import Repr
from typing import Any, Literal

from smoothcse.errors import SmoothCSEError, did_you_mean

Kind = Literal["text", "whole numbers", "numbers", "true or false"]
"""Type of a field's values."""

Filter = Mapping[str, Any]
"""Conditions that must all hold, e.g. ``{"year": {"gte": 2020}, "source": ["a", "b"], "draft": False}``."""

COMPARISONS = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<", "ne": "!="}

MOST = 1000
"""Maximum comparisons per filter. The database processes them recursively, and a much longer filter crashes it."""

_LARGEST = 2**63 - 1
_NAMES_TOLD = 30
_SHORT = Repr()


@dataclass(frozen=True)
class Field:
    """A field that a filter may use.

    Attributes:
        column: Column that stores the field.
        kind: Type of the values.
    """

    column: str
    kind: Kind


class Filters:
    """Conditions in the database's language, on known fields and values that fit them.

    Args:
        fields: Fields by name; a condition can use no others.
    """

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = fields

    def all_of(self, where: Filter) -> str:
        """Translate a filter.

        Args:
            where: Filter from field to a value, a list of values, a comparison (``gte``, ``gt``, ``lte``, ``lt``,
                ``ne``), or None for a missing value.

        Raises:
            SmoothCSEError: If a field or comparison is unknown, or a value does not fit its field.
        """
        conditions = [condition for name, value in where.items() for condition in self._conditions(name, value)]
        if len(conditions) > MOST:
            raise self.refusal(f"The filter has {len(conditions):,} comparisons, and at most {MOST:,} are allowed")
        return " AND ".join(conditions)

    def missing(self, name: str) -> str:
        """Return the condition that a field is missing."""
        return f"{self._column(name)} IS NULL"

    def one_of(self, name: str, values: Sequence[Any]) -> str:
        """Return the condition that a field has one of several values."""
        column = self._column(name)
        literals = [self._literal(name, value) for value in values if not self._between_whole(name, value)]
        return f"{column} IN ({', '.join(literals)})" if literals else "false"

    def compare(self, name: str, sign: str, value: Any) -> str:
        """Return a comparison with ``=``, ``!=``, ``<``, ``<=``, ``>`` or ``>=``."""
        column = self._column(name)
        if self._between_whole(name, value):
            if sign in ("=", "!="):
                return "false" if sign == "=" else f"{column} IS NOT NULL"
            value = math.floor(value) if sign in ("<=", ">") else math.ceil(value)
        return f"{column} {sign} {self._literal(name, value)}"

    def like(self, name: str, pattern: Any) -> str:
        """Return the condition that a text matches a pattern with ``%`` (any text) and ``_`` (any character)."""
        column = self._column(name)
        if self._fields[name].kind != "text":
            raise self.refusal(f"LIKE needs a text field, and {name!r} holds {self._fields[name].kind}")
        return f"{column} LIKE {self._literal(name, pattern)}"

    def kind(self, name: str) -> Kind:
        """Return the type of a field's values."""
        self._column(name)
        return self._fields[name].kind

    def refusal(self, problem: str, hint: str = "") -> SmoothCSEError:
        """Return the error for an unusable filter: one sentence that names the available fields."""
        names = ", ".join(list(self._fields)[:_NAMES_TOLD]) + (", ..." if len(self._fields) > _NAMES_TOLD else "")
        return SmoothCSEError(f"{problem} (fields: {names or 'none'}).{hint}")

    def _conditions(self, name: str, value: Any) -> Iterator[str]:
        if value is None:
            yield self.missing(name)
        elif isinstance(value, list | tuple):
            yield self.one_of(name, value)
        elif isinstance(value, Mapping):
            self._column(name)
            if not value:
                raise self.refusal(f"Field {name!r} has an empty comparison; use one of {', '.join(COMPARISONS)}")
            for comparison, bound in value.items():
                if comparison not in COMPARISONS:
                    known = ", ".join(COMPARISONS)
                    raise self.refusal(
                        f"Field {name!r}: there is no comparison {_shown(comparison)}; use one of {known}"
                    )
                yield self.compare(name, COMPARISONS[comparison], bound)
        else:
            yield self.compare(name, "=", value)

    def _column(self, name: Any) -> str:
        if name not in self._fields:
            hint = did_you_mean(name, self._fields) if isinstance(name, str) else ""
            raise self.refusal(f"The index has no field {_shown(name)}", hint)
        return f"`{self._fields[name].column}`"

    def _between_whole(self, name: str, value: Any) -> bool:
        """Return whether a value lies between the whole numbers of a field; the database refuses such values."""
        whole = self._fields[name].kind == "whole numbers"
        return whole and isinstance(value, float) and math.isfinite(value) and not value.is_integer()

    def _literal(self, name: str, value: Any) -> str:
        kind = self._fields[name].kind
        if kind == "text" and isinstance(value, str):
            return self._quoted(name, value)
        if kind == "true or false" and isinstance(value, bool):
            return str(value).lower()
        if kind in ("numbers", "whole numbers") and isinstance(value, int | float) and not isinstance(value, bool):
            return self._number(name, value, kind)
        raise self.refusal(f"Field {name!r} holds {kind} and cannot be compared with {_shown(value)}")

    def _number(self, name: str, value: float, kind: Kind) -> str:
        limit = _LARGEST if kind == "whole numbers" else 1.7976931348623157e308
        if not -limit <= value <= limit:  # also refuses NaN
            raise self.refusal(
                f"Field {name!r} can be compared with finite numbers of at most 64 bits, not with {_shown(value)}"
            )
        return repr(int(value) if kind == "whole numbers" else float(value))

    def _quoted(self, name: str, value: str) -> str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise self.refusal(f"Field {name!r} is compared with a text that has an unpaired surrogate") from error
        return "'" + value.replace("'", "''") + "'"


def _shown(value: Any) -> str:
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python prints no numbers of more than 4,300 digits
        return f"such a long {type(value).__name__}"
