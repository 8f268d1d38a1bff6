"""From the fields of ``TrainConfig`` to command-line options, so that no flag is written twice."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from smoothcse.training.config import TrainConfig

Command = Callable[..., None]


def config_options(*, positional: str) -> Callable[[Command], Command]:
    """Give a command one option per configuration field, in place of its ``**fields``.

    The command receives only the fields that the user gave, so that defaults never override a recipe.

    Args:
        positional: the field that is an optional argument instead of an option.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_fields(**given: Any) -> None:
            own = {name: given.pop(name) for name in list(given) if name in own_names}
            command(**own, **{name: value for name, value in given.items() if value is not None})

        signature = inspect.signature(command, eval_str=True)
        own_parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        own_names = {parameter.name for parameter in own_parameters}
        parameters = [_parameter(field, positional) for field in fields(TrainConfig)] + own_parameters
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        with_fields.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_fields.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_fields

    return decorate


def _parameter(field: Field[Any], positional: str) -> inspect.Parameter:
    hint = get_type_hints(TrainConfig, include_extras=True)[field.name]
    plain, info = get_args(hint)[0], next(extra for extra in get_args(hint) if isinstance(extra, FieldInfo))
    default = "" if field.default in (None, MISSING) else f" [{_shown(field.default)}]"
    text = f"{info.description}{default}"
    if field.name == positional:
        option: Any = typer.Argument(help=text, show_default=False)
    else:
        flag = "--" + field.name.replace("_", "-")
        names = [f"{flag}/--no-{flag[2:]}"] if _optional(plain) == bool | None else [flag]
        option = typer.Option(*names, help=text, show_default=False)
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[_optional(plain), option],
    )


def _optional(hint: Any) -> Any:
    """Return the hint with None allowed, a Literal as the text that the configuration itself will check."""
    parts = [
        str if get_origin(part) is Literal else part
        for part in (get_args(hint) if get_origin(hint) is not Literal else [hint])
    ]
    base = parts[0] if parts else hint
    return base | None


def _shown(default: Any) -> str:
    return (
        str(default).lower()
        if isinstance(default, bool)
        else f"{default:g}"
        if isinstance(default, float)
        else str(default)
    )
