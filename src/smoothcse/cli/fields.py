"""Command-line options generated from the fields of ``TrainConfig``."""

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
from smoothcse.methods.settings import MethodSettings
from smoothcse.runs.config import Group, OneText, TrainConfig
from smoothcse.runs.config_forms import DEFAULT_METHOD

Command = Callable[..., None]

_MAPPING = " Give KEY=VALUE; repeat for several."
_LIST = " Separate them with commas, or repeat the option."
_FLAGS = {"trainer_args": "--trainer-arg", "lora_rank": "--lora"}  # flags that differ from the field's name

# The only flag without a field: in the configuration, the settings of a method are part of `method`.
_SETTINGS = "settings"
_SETTINGS_HELP = f"Settings of the method; see `smoothcse list methods NAME`.{_MAPPING}"


def config_options(*, positional: str) -> Callable[[Command], Command]:
    """Return a decorator that replaces the ``**fields`` of a command by one option per configuration field.

    The command receives only the fields given by the user, so that defaults never override a recipe.

    Args:
        positional: Field that is an optional argument instead of an option.
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
        hints = get_type_hints(TrainConfig, include_extras=True)
        kinds = {field.name: get_origin(_first_kind(hints[field.name])) for field in fields(TrainConfig)}
        kinds[_SETTINGS] = dict
        parameters = [*_field_parameters(positional, hints), *own_parameters]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        with_fields.__dict__["__signature__"] = signature.replace(parameters=parameters)
        with_fields.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_fields

    return decorate


def _read(field: str, given: Any, kind: Any) -> Any:
    """Return the value of a field from the value of its option."""
    if kind is list:
        return split(given)
    return _as_mapping(_flag(field), given) if kind is dict else given


def _as_mapping(flag: str, given: list[str]) -> dict[str, Any]:
    """Return ``name=value`` options as a mapping; values are parsed as YAML."""
    found: dict[str, Any] = {}
    for name, equals, value in (entry.partition("=") for entry in given):
        if not name or not equals:
            raise SmoothCSEError(f"{flag} {name} must have the form name=value.")
        if name in found:
            raise SmoothCSEError(f"{flag} gives {name!r} twice; give it once.")
        found[name] = _read_value(flag, name, value)
    return found


def _read_value(flag: str, name: str, value: str) -> Any:
    import yaml

    from smoothcse._utils.strict_yaml import read_yaml

    try:
        return read_yaml(value)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        reason = getattr(error, "problem", None) or first_line(error)
        raise SmoothCSEError(
            f"{flag} {name}={value}: the value is not valid YAML ({reason}); put it in quotes if it is text."
        ) from error


def _field_parameters(positional: str, hints: dict[str, Any]) -> Iterator[inspect.Parameter]:
    panel = ""
    for field in fields(TrainConfig):
        extras = get_args(hints[field.name])
        panel = next((extra.title for extra in extras if isinstance(extra, Group)), panel)
        yield _parameter(field, hints[field.name], panel, is_argument=field.name == positional)
        if field.name == "method":
            option = typer.Option(_flag(_SETTINGS), help=_SETTINGS_HELP, show_default=False, rich_help_panel=panel)
            yield _optional(_SETTINGS, list[str], option)


def _parameter(field: Field[Any], annotated: Any, panel: str, *, is_argument: bool) -> inspect.Parameter:
    kind, info = _kind(annotated), next(extra for extra in get_args(annotated) if isinstance(extra, FieldInfo))
    several = {list: _LIST, dict: _MAPPING}.get(get_origin(_first_kind(annotated)), "")
    text = f"{info.description}{several}{_shown(field)}"
    if is_argument:
        option: Any = typer.Argument(help=text, show_default=False)
    else:
        flag = _flag(field.name)
        flag = f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag
        option = typer.Option(flag, help=text, show_default=False, rich_help_panel=panel)
    return _optional(field.name, kind, option)


def _optional(name: str, kind: type, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _flag(field: str) -> str:
    return _FLAGS.get(field) or f"--{field.replace('_', '-')}"


def _kind(annotated: Any) -> type:
    """Return the type of a field's option; the configuration checks its choices."""
    first = _first_kind(annotated)
    if get_origin(first) in (dict, list):  # the flag is repeated for each entry
        return list[str]
    return str if get_origin(first) is Literal or first is MethodSettings else first


def _first_kind(annotated: Any) -> Any:
    """Return a field's type, or the first of its alternatives."""
    plain, *extras = get_args(annotated)
    if any(isinstance(extra, OneText) for extra in extras):
        return str
    return plain if get_origin(plain) in (Literal, dict, list) else (get_args(plain) or [plain])[0]


def _shown(field: Field[Any]) -> str:
    default = DEFAULT_METHOD if field.name == "method" else field.default
    if default in (None, MISSING):
        return ""
    return f" [{f'{default:g}' if isinstance(default, float) else str(default).lower()}]"
