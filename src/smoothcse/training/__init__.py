"""Training: configuration, recipes, the run itself.

The names are imported when first used: the command line reads the configuration's fields for its help, and must not
wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smoothcse.training.callbacks import NoiseStep
    from smoothcse.training.config import TrainConfig, make_config
    from smoothcse.training.config_file import resolve_config
    from smoothcse.training.result import TrainResult, read_result
    from smoothcse.training.run import train
    from smoothcse.training.seeds import train_seeds

_HOMES = {
    "NoiseStep": "callbacks",
    "TrainConfig": "config",
    "TrainResult": "result",
    "make_config": "config",
    "read_result": "result",
    "resolve_config": "config_file",
    "train": "run",
    "train_seeds": "seeds",
}

__all__ = [
    "NoiseStep",
    "TrainConfig",
    "TrainResult",
    "make_config",
    "read_result",
    "resolve_config",
    "train",
    "train_seeds",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'smoothcse.training' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smoothcse.training.{_HOMES[name]}"), name)
