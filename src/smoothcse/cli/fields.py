"""From the fields of ``TrainConfig`` to command-line options, so that no flag is written twice."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic.fields import FieldInfo

from smoothcse.cli.arguments import split
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.runs.config import TrainConfig

Command = Callable[..., None]

# How to give a field that has several entries.
_SEVERAL = {list: " Separate them with commas, or repeat the option.", dict: " Give NAME=VALUE; repeat for several."}

# The field at which each panel of the help begins.
_PANELS = {
    "corpus": "Text",
    "model": "Encoder",
    "output": "Output",
    "method": "Objective",
    "batch_size": "Training",
    "dev": "Evaluation",
}


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
            fields = {name: _read(name, value, kinds[name]) for name, value in given.items() if value is not None}
            command(**own, **fields)

        signature = inspect.signature(command, eval_str=True)
        own_parameters = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        own_names = {parameter.name for parameter in own_parameters}
        kinds = {field.name: get_origin(_first_kind(field)) for field in fields(TrainConfig)}
        parameters = [*_field_parameters(positional), *own_parameters]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        with_fields.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        with_fields.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_fields

    return decorate


def _read(field: str, given: Any, kind: Any) -> Any:
    """Return a field's value from what its option was given."""
    if kind is list:
        return split(given)
    return _as_mapping(field, given) if kind is dict else given


def _as_mapping(field: str, given: list[str]) -> dict[str, Any]:
    """Read ``name=value`` options as the mapping that they stand for; values are read as YAML reads them."""
    found: dict[str, Any] = {}
    for name, equals, value in (entry.partition("=") for entry in given):
        if not name or not equals:
            raise SmoothCSEError(f"--{field} {name} must have the form name=value.")
        if name in found:
            raise SmoothCSEError(f"--{field} gives {name!r} twice; give it once.")
        found[name] = _read_value(field, name, value)
    return found


def _read_value(field: str, name: str, value: str) -> Any:
    import yaml

    from smoothcse._utils.strict_yaml import read_yaml

    try:
        return read_yaml(value)
    except (yaml.YAMLError, ValueError) as error:  # of a date that there is not
        reason = getattr(error, "problem", None) or first_line(error)
        raise SmoothCSEError(
            f"--{field} {name}={value}: the value is not valid YAML ({reason}); put it in quotes if it is text."
        ) from error


def _field_parameters(positional: str) -> Iterator[inspect.Parameter]:
    panel = ""
    for field in fields(TrainConfig):
        panel = _PANELS.get(field.name, panel)
        yield _parameter(field, panel, is_argument=field.name == positional)


def _parameter(field: Field[Any], panel: str, *, is_argument: bool) -> inspect.Parameter:
    annotated = get_type_hints(TrainConfig, include_extras=True)[field.name]
    kind, info = _kind(field), next(extra for extra in get_args(annotated) if isinstance(extra, FieldInfo))
    text = f"{info.description}{_SEVERAL.get(get_origin(_first_kind(field)), '')}{_shown(field.default)}"
    if is_argument:
        option: Any = typer.Argument(help=text, show_default=False)
    else:
        name = field.name.replace("_", "-")
        flag = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
        option = typer.Option(flag, help=text, show_default=False, rich_help_panel=panel)
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _kind(field: Field[Any]) -> type:
    """Return what a field's text on the command line is read as; its choices are checked by the configuration."""
    first = _first_kind(field)
    if get_origin(first) in (dict, list):  # the flag is given once for each entry
        return list[str]
    return str if get_origin(first) is Literal else first


def _first_kind(field: Field[Any]) -> Any:
    """Return a field's type, or the first of its alternatives."""
    plain = get_args(get_type_hints(TrainConfig, include_extras=True)[field.name])[0]
    return plain if get_origin(plain) in (Literal, dict, list) else (get_args(plain) or [plain])[0]


def _shown(default: Any) -> str:
    if default in (None, MISSING):
        return ""
    return f" [{f'{default:g}' if isinstance(default, float) else str(default).lower()}]"
