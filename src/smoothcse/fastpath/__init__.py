"""The fast path of a training step: one context manager, :func:`accelerate`; without it, the plain path."""

from __future__ import annotations

from smoothcse.fastpath.accelerate import PARTS, Part, accelerate

__all__ = ["PARTS", "Part", "accelerate"]
