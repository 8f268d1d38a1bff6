"""What the user asks of an adaptation, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from smoothcse._utils.validation import CHECKED, in_one_sentence


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class AdaptRequest:
    """Arguments of :func:`~smoothcse.experiments.adapt.adapt`, which describes them."""

    documents: str
    model: str
    output: str
    minutes: Annotated[float, Field(gt=0, le=60 * 24 * 7)] = 15.0
    dev: str | None = None
    general: str | None = None
    column: str | None = None
    title: str | None = None
    language: str = "en"
    max_tokens: Annotated[int, Field(ge=16)] | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values: Any, build: Callable[[Any], Self]) -> Self:
        return in_one_sentence(values, build)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return dataclasses.asdict(self)
