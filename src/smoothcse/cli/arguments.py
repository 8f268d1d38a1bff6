"""Arguments that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

ModelArgument = Annotated[
    str, typer.Argument(help="A run folder, a model folder, a hub name, or packaged-minilm.", show_default=False)
]
PoolingOption = Annotated[
    str | None, typer.Option(help="Read the model by cls, mean, max, lasttoken, avg_first_last or avg_top2 instead.")
]


def split(values: list[str] | None) -> list[str]:
    """Return the names that an option was given, with commas or by repeating it."""
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]
