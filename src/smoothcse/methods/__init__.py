"""Losses that the host's trainer calls: one thin adapter per method, views in, scalar out."""

from __future__ import annotations

from smoothcse.methods.cached import CachedGSInfoNCELoss, with_gradient_caching
from smoothcse.methods.base import GSInfoNCELoss

__all__ = ["CachedGSInfoNCELoss", "GSInfoNCELoss", "with_gradient_caching"]
