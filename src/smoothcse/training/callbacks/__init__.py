"""Callbacks of the training loop, one concern per file."""

from __future__ import annotations

from smoothcse.training.callbacks.batch_shares import BatchShares
from smoothcse.training.callbacks.best_step import Selection
from smoothcse.training.callbacks.finite_loss import FiniteLoss
from smoothcse.training.callbacks.freed_memory import FreedMemory
from smoothcse.training.callbacks.method_state import MethodState
from smoothcse.training.callbacks.metrics_log import Metrics
from smoothcse.training.callbacks.monitors import CollapseMonitor, NoiseShareMonitor
from smoothcse.training.callbacks.noise_step import NoiseStep
from smoothcse.training.callbacks.progress_bar import ProgressBar
from smoothcse.training.callbacks.start_decay import StartDecay
from smoothcse.training.callbacks.step_cost import StepCost
from smoothcse.training.callbacks.stop import StopOnSignal
from smoothcse.training.callbacks.view_epoch import ViewEpoch

__all__ = [
    "BatchShares",
    "CollapseMonitor",
    "FiniteLoss",
    "FreedMemory",
    "MethodState",
    "Metrics",
    "NoiseShareMonitor",
    "NoiseStep",
    "ProgressBar",
    "Selection",
    "StartDecay",
    "StepCost",
    "StopOnSignal",
    "ViewEpoch",
]
