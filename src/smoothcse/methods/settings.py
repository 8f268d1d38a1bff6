"""Base class of the settings of all methods; importing it loads neither torch nor a method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic.dataclasses import dataclass

from smoothcse._utils.validation import CHECKED, first_problem
from smoothcse.errors import SmoothCSEError, did_you_mean


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class MethodSettings:
    """Base class of the settings of a method.

    Attributes:
        name: Name of the method, fixed by each subclass.

    Raises:
        SmoothCSEError: If a setting does not exist or is out of range.
    """

    name: str

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values: Any, build: Callable[[Any], Self]) -> Self:
        try:
            return build(values)
        except ValidationError as error:
            raise SmoothCSEError(_sentence(cls, error)) from error


def _sentence(kind: type[MethodSettings], error: ValidationError) -> str:
    problem = first_problem(error)
    if problem.unknown:
        known = [field.name for field in fields(kind) if field.name != "name"]
        return f"The method {kind.name} has no setting {problem.field!r}; it has {', '.join(known)}." + did_you_mean(
            problem.field, known
        )
    return f"The setting {problem.field} of {kind.name} is {problem.value!r}, but {problem.reason}."
