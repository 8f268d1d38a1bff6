"""How values from users and files are checked, and how pydantic's errors become one sentence."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ConfigDict, ValidationError

from smoothcse.errors import SmoothCSEError

Settings = TypeVar("Settings")

CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Configuration of the dataclasses that hold settings."""

_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument")
_SHORT = reprlib.Repr()  # the value may be anything that a file can hold
_SHORT.maxstring = _SHORT.maxother = 200


@dataclass(frozen=True)
class Problem:
    """Problem with one value.

    Attributes:
        field: Name of the field, with its parents: ``result.best_step``.
        reason: Description of valid values. The end of a sentence, without a full stop.
        value: The value as it was given.
        unknown: Whether there is no such field.
        missing: Whether the field is required and has no value.
    """

    field: str
    reason: str
    value: Any
    unknown: bool = False
    missing: bool = False

    def __str__(self) -> str:
        """Return a sentence without a full stop, such as ``seed is 'x', but input should be a valid integer``."""
        if self.unknown:
            return f"there is no field {self.field!r}"
        if self.missing:
            return f"{self.field} is missing"
        return f"{self.field} is {_SHORT.repr(self.value)}, but {self.reason}"


def first_problem(error: ValidationError, *, depth: int | None = None) -> Problem:
    """Return the first problem that pydantic found; an unknown name comes before a value out of range.

    Args:
        error: Error raised by pydantic.
        depth: Number of parts of the field's name to keep; None for all. A union adds its alternatives to the name.
    """
    found = min(error.errors(), key=lambda entry: entry["type"] not in _UNKNOWN)
    message = found["msg"]
    return Problem(
        field=".".join(map(str, found["loc"][:depth])) or "the value",
        reason=f"{message[0].lower()}{message[1:]}",
        value=found["input"],
        unknown=found["type"] in _UNKNOWN,
        missing=found["type"] in _MISSING,
    )


def in_one_sentence(values: Any, build: Callable[[Any], Settings]) -> Settings:
    """Build checked settings, for a ``wrap`` validator of their class.

    Args:
        values: Values as they were given.
        build: Function that checks the values and returns the settings.

    Raises:
        SmoothCSEError: If a value does not exist, is missing, or is out of range; the first problem in a sentence.
    """
    try:
        return build(values)
    except ValidationError as error:
        raise SmoothCSEError(f"{first_problem(error, depth=1)}.") from error
