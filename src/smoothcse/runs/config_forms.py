"""Other forms of a configuration's values: those of earlier versions, and the short forms of ``method``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from smoothcse.errors import SmoothCSEError
from smoothcse.methods.settings import MethodSettings

DEFAULT_METHOD = "simcse"

REMOVED = {"noise_per_anchor": False, "gradient_noise": 0.0}
"""Fields of earlier versions that old records contain, and their defaults."""


def with_settings_inside(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with the method's settings inside ``method``.

    Earlier files and records, and the flag ``--settings``, have a separate field ``settings`` beside the method's
    name.
    """
    fields = {str(name): value for name, value in values.items()}
    settings = fields.pop("settings", None)
    if settings is not None and not isinstance(settings, Mapping):
        raise SmoothCSEError(f"settings is {settings!r}, but must be a mapping of the method's settings.")
    if settings:
        fields["method"] = {**method_values(fields.get("method", DEFAULT_METHOD)), **settings}
    return fields


def method_values(method: Any) -> dict[str, Any]:
    """Return the name and the settings of a method, given in any form that ``method`` takes, as a mapping."""
    if isinstance(method, MethodSettings):
        return dataclasses.asdict(method)
    return dict(method) if isinstance(method, Mapping) else {"name": method}


def without_removed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values without the fields of earlier versions, which must have their defaults."""
    for name, default in REMOVED.items():
        if values.get(name, default) != default:
            raise SmoothCSEError(
                f"{name} is no longer a configuration field; remove it. docs/results/noise describes its experiment."
            )
    return {str(name): value for name, value in values.items() if name not in REMOVED}
