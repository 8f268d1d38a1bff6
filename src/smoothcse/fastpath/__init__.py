"""What makes a training step fast: one context manager, :func:`accelerate`, and the plain path without it."""

from __future__ import annotations

from smoothcse.fastpath.accelerate import PARTS, Part, accelerate

__all__ = ["PARTS", "Part", "accelerate"]
