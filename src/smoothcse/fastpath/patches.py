"""Temporary replacement of forward methods, the only way in which the fast path changes a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class Patches:
    """Replaced forward methods of a model's modules.

    Class, weights, names and configuration of a module do not change, and neither does the saved model.
    """

    def __init__(self) -> None:
        self._modules: list[nn.Module] = []

    def replace(self, module: nn.Module, forward: Callable[..., Any], *given: Any) -> None:
        """Make a module compute ``forward(module, *given, ...)``, unless its forward has been replaced before.

        Args:
            module: Module to change.
            forward: Module-level function, so that the module can be pickled for workers.
            *given: Arguments that precede those of the call.
        """
        if "forward" not in vars(module):
            vars(module)["forward"] = partial(forward, module, *given)
            self._modules.append(module)

    def undo(self) -> None:
        """Restore the forward methods of all modules."""
        while self._modules:
            del vars(self._modules.pop())["forward"]


def is_patched_by(module: nn.Module, forward: Callable[..., Any]) -> bool:
    """Return whether a module computes this function in place of its own forward."""
    return getattr(vars(module).get("forward"), "func", None) is forward
