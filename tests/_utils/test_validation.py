"""Errors of pydantic become one sentence."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from smoothcse._utils.validation import CHECKED, first_problem


@dataclass(config=CHECKED, kw_only=True)
class Inner:
    size: int


@dataclass(config=CHECKED, kw_only=True)
class Outer:
    inner: Inner
    either: int | None = None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"inner": {"size": "x"}}, "inner.size is 'x', but input should be a valid integer"),
        ({"inner": {}}, "inner.size is missing"),
        ({"inner": {"size": "x", "colour": 1}}, "there is no field 'inner.colour'"),
        ([], "the value is [], but input should be a dictionary"),
    ],
)
def test_the_first_problem_is_a_sentence(values, said):
    with pytest.raises(ValidationError) as error:
        TypeAdapter(Outer).validate_python(values)
    assert str(first_problem(error.value)).startswith(said)


def test_a_long_value_is_shortened():
    with pytest.raises(ValidationError) as error:
        Inner(size="9" * 100_000 + "x")
    assert len(str(first_problem(error.value))) < 400


def test_a_name_can_leave_out_the_alternatives_of_a_union():
    with pytest.raises(ValidationError) as error:
        Outer(inner=Inner(size=1), either="x")
    assert first_problem(error.value, depth=1).field == "either"
