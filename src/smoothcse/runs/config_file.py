"""Configurations from YAML files, which are not trusted, combined with recipes and flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from smoothcse._utils.strict_yaml import read_yaml
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.runs.config import TrainConfig, located, make_config
from smoothcse.runs.config_forms import method_values, with_settings_inside
from smoothcse.runs.recipes import recipe_fields

_LONGEST_FILE = 1 << 20
_MOST_VALUES = 10_000


def resolve_config(
    recipe: str | None = None, file: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Combine a recipe, a YAML file and explicit values; later ones win.

    The file may name a recipe with the key ``recipe``.

    Raises:
        SmoothCSEError: If a recipe or field does not exist, or a value is out of its range.
    """
    from_file = read_config_file(file) if file else {}
    named = from_file.pop("recipe", None)
    if named is not None and not isinstance(named, str):
        raise SmoothCSEError(f"{file}: recipe is {named!r}, but must be a name; `smoothcse list recipes` lists them.")
    recipe = recipe or named
    published = recipe_fields(recipe) if recipe else {}
    with located(str(file or "")):
        merged = _over(published, from_file)
        if file:
            make_config(merged)
    return make_config(_over(merged, overrides or {}))


def _over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings of fields; later values win.

    Count and ratio of the noise replace each other. Settings of the same method are merged, and so are the trainer's
    arguments.
    """
    lower = with_settings_inside(lower)
    if upper.get("noise_ratio") is not None or upper.get("noise_count") is not None:
        lower = {key: value for key, value in lower.items() if key not in ("noise_count", "noise_ratio")}
    if "method" in lower and "method" in upper:
        below, above = method_values(lower["method"]), method_values(upper["method"])
        upper = {**upper, "method": {**below, **above} if below.get("name") == above.get("name") else above}
    both = [layer["trainer_args"] for layer in (lower, upper) if isinstance(layer.get("trainer_args"), dict)]
    if len(both) == 2:
        upper = {**upper, "trainer_args": {**both[0], **both[1]}}
    return with_settings_inside({**lower, **upper})


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of configuration fields.

    Raises:
        SmoothCSEError: If the file is missing, is not YAML, or holds no mapping.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(_LONGEST_FILE + 1)
        if len(text) > _LONGEST_FILE:
            raise SmoothCSEError(f"The configuration {path} is longer than {_LONGEST_FILE >> 20} MB; give another.")
        values = read_yaml(text)
        size = _count(values, 0)
    except (OSError, UnicodeDecodeError) as error:
        raise SmoothCSEError(
            f"The configuration {path} cannot be read: {getattr(error, 'strerror', error)}."
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise SmoothCSEError(
            f"{path}{line} is not valid YAML ({getattr(error, 'problem', 'syntax error')})."
        ) from error
    except (
        ValueError,
        TypeError,
        RecursionError,
        OverflowError,
    ) as error:  # for example a date, a number or the depth
        raise SmoothCSEError(f"{path} holds a value that cannot be read ({first_line(error)}).") from error
    if size > _MOST_VALUES:
        raise SmoothCSEError(
            f"{path} holds more than {_MOST_VALUES:,} values after its aliases are expanded; use fewer aliases."
        )
    if not isinstance(values, dict):
        raise SmoothCSEError(f"{path} must hold 'field: value' lines, as `smoothcse list recipes NAME` prints them.")
    return values


def _count(value: Any, so_far: int) -> int:
    """Count the values after expansion of all aliases; stop as soon as there are too many.

    Ten lines of nested aliases can hold a billion values, so they are counted before they are expanded.
    """
    so_far += 1
    inner = (part for pair in value.items() for part in pair) if isinstance(value, dict) else value
    if isinstance(value, dict | list | tuple | set):
        for part in inner:
            if so_far > _MOST_VALUES:
                break
            so_far = _count(part, so_far)
    elif isinstance(value, int) and value.bit_length() > 1024:  # Python does not print very long integers
        so_far = _MOST_VALUES + 1
    return so_far
