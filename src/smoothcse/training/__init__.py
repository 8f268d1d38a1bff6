"""Training runs.

Names are imported on first use, so that the command line can read the configuration's fields for its help without
loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothcse.runs.config import TrainConfig, make_config
    from smoothcse.runs.config_file import resolve_config
    from smoothcse.runs.result import TrainResult, read_result
    from smoothcse.training.callbacks import NoiseStep
    from smoothcse.training.run import train

_HOMES = {
    "NoiseStep": "training.callbacks",
    "TrainConfig": "runs.config",
    "TrainResult": "runs.result",
    "make_config": "runs.config",
    "read_result": "runs.result",
    "resolve_config": "runs.config_file",
    "train": "training.run",
}

__all__ = [
    "NoiseStep",
    "TrainConfig",
    "TrainResult",
    "make_config",
    "read_result",
    "resolve_config",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'smoothcse.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smoothcse.{_HOMES[name]}"), name)
