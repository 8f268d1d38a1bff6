"""Published settings by name: GS-InfoNCE with its controls, SimCSE and related methods."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from smoothcse._utils.strict_yaml import read_yaml
from smoothcse.errors import SmoothCSEError, did_you_mean

CONTROL = "control"


@dataclass(frozen=True)
class Recipe:
    """A named configuration.

    Attributes:
        name: ``method/model``.
        about: Description, with the source of its values.
        fields: Configuration fields that the recipe sets.
    """

    name: str
    about: str
    fields: dict[str, Any]


def recipes() -> dict[str, Recipe]:
    """Return all recipes by name.

    A control has no file: it is derived from its GS-InfoNCE recipe with ``noise_count: 0``.
    """
    found = {}
    for folder in sorted(resources.files(__package__).iterdir(), key=lambda entry: entry.name):
        if folder.is_dir() and not folder.name.startswith("_"):
            for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
                recipe = _read(f"{folder.name}/{file.name.removesuffix('.yaml')}", file.read_text(encoding="utf-8"))
                found[recipe.name] = recipe
    controls = [_control_of(recipe) for recipe in found.values() if recipe.fields["noise_count"]]
    return found | {recipe.name: recipe for recipe in controls}


def recipe_fields(name: str) -> dict[str, Any]:
    """Return the configuration fields that a recipe sets.

    Raises:
        SmoothCSEError: If there is no such recipe; the message suggests a similar name.
    """
    known = recipes()
    if name not in known:
        raise SmoothCSEError(
            f"There is no recipe {name!r}.{did_you_mean(name, known)} `smoothcse list recipes` lists them all."
        )
    return dict(known[name].fields)


def _read(name: str, text: str) -> Recipe:
    about = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    return Recipe(name, about, read_yaml(text))


def _control_of(recipe: Recipe) -> Recipe:
    model = recipe.name.split("/")[1]
    about = f"The control of {recipe.name}: the same in everything, without noise (M = 0)."
    return Recipe(f"{CONTROL}/{model}", about, {**recipe.fields, "noise_count": 0})
