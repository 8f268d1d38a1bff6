"""How values that users give are checked."""

from __future__ import annotations

from pydantic import ConfigDict

CHECKED = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Configuration of the dataclasses that hold settings."""
