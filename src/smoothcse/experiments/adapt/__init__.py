"""Adaptation of an encoder to documents, without labels."""

from __future__ import annotations

from smoothcse.experiments.adapt.adapt import Adaptation, adapt

__all__ = ["Adaptation", "adapt"]
