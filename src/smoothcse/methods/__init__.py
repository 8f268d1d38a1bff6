"""Training methods: one file each, with its settings, its loss and its state.

Names are imported on first use, so that the configuration can read the methods' settings without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothcse.methods.base import ContrastiveLoss
    from smoothcse.methods.cached import CachedGSInfoNCELoss, with_gradient_caching
    from smoothcse.methods.gs_info_nce import GSInfoNCELoss

_HOMES = {
    "CachedGSInfoNCELoss": "methods.cached",
    "ContrastiveLoss": "methods.base",
    "GSInfoNCELoss": "methods.gs_info_nce",
    "with_gradient_caching": "methods.cached",
}

__all__ = ["CachedGSInfoNCELoss", "ContrastiveLoss", "GSInfoNCELoss", "with_gradient_caching"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'smoothcse.methods' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smoothcse.{_HOMES[name]}"), name)
