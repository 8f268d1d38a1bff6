"""Points of learning curves from a run's metrics, and the library that draws pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from smoothcse._utils.extras import extra

Points = list[tuple[float, float]]
"""Points ``(x, y)`` of a curve."""


def pyplot() -> Any:
    """Return ``matplotlib.pyplot`` with a backend that draws to files.

    Raises:
        SmoothCSEError: If matplotlib (extra ``plots``) is not installed.
    """
    with extra("plots", "Pictures"):
        import matplotlib as mpl
    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def finite_points(metrics: Sequence[Mapping[str, Any]], key: str) -> Points:
    """Return ``(step, value)`` of every entry that has this metric as a finite number."""
    return [(entry["step"], entry[key]) for entry in metrics if _is_finite(entry.get(key))]


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
