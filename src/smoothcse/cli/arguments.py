"""Arguments that several commands share."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from smoothcse._utils.choices import Backend, PoolingName, Precision
from smoothcse.errors import SmoothCSEError

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="Run folder, model folder, Hub name, or packaged-minilm (the model of the extra `demo`).",
        show_default=False,
    ),
]
PoolingOption = Annotated[
    PoolingName | None, typer.Option(help="Pooling to use instead of the model's own.", show_default=False)
]
BackendOption = Annotated[
    Backend | None,
    typer.Option(
        help="Runtime of the model. [the one that its folder was exported for, else torch]", show_default=False
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(help="Arithmetic of the model. auto is bf16 where the hardware supports it; the choice is printed."),
]


def poolings(names: list[str] | None) -> list[PoolingName]:
    """Return the poolings given to a repeated option, which Typer cannot check itself.

    Raises:
        SmoothCSEError: If a pooling is unknown.
    """
    known: dict[str, PoolingName] = {name: name for name in get_args(PoolingName)}
    if unknown := [name for name in names or () if name not in known]:
        raise SmoothCSEError(f"--pooling {unknown[0]!r} is unknown; choose one of {', '.join(known)}.")
    return [known[name] for name in names or ()]


def whole_numbers(flag: str, values: list[str]) -> list[int] | None:
    """Return the whole numbers given to an option; None if there are none.

    Raises:
        SmoothCSEError: If a value is not a whole number.
    """
    if wrong := [value for value in values if not value.isdecimal()]:
        raise SmoothCSEError(f"{flag} {wrong[0]!r} is not a whole number; give numbers such as 384,128,64.")
    return [int(value) for value in values] or None


def split(values: list[str] | None) -> list[str]:
    """Return the names given to an option, separated by commas or by repeating the option."""
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]
