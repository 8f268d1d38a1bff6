"""Learning curves of runs, drawn from their ``metrics.jsonl``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoothcse._utils.extras import extra

Points = list[tuple[float, float]]
"""Points ``(x, y)`` of a curve."""


def learning_curves(
    runs: Mapping[str, list[dict[str, Any]]],
    path: Path,
    *,
    score_name: str,
    reference: tuple[str, float] | None = None,
) -> None:
    """Draw dev score and loss against the step, one line per run.

    Args:
        runs: Metrics of each run by label, as ``RunFolder.metrics`` returns them.
        path: PNG or SVG file to write.
        score_name: Label of the score axis.
        reference: Label and value of a dashed reference line; None for no line.

    Raises:
        SmoothCSEError: If matplotlib (extra ``plots``) is not installed.
    """
    plt = pyplot()
    figure, (scores, losses) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for label, metrics in runs.items():
        _line(scores, metrics, "eval_dev_score", label, marker="o")
        _line(losses, metrics, "loss", label)
    if reference:
        scores.axhline(reference[1], color="grey", linestyle="--", linewidth=1, label=reference[0])
    scores.set(xlabel="step", ylabel=score_name)
    losses.set(xlabel="step", ylabel="training loss", yscale="log")
    for axes in (scores, losses):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _line(axes: Any, metrics: list[dict[str, Any]], key: str, label: str, **style: Any) -> None:
    points = finite_points(metrics, key)
    style |= {"marker": "o"} if len(points) == 1 else {}  # a line through one point is invisible
    axes.plot([step for step, _ in points], [value for _, value in points], label=label, **style)


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
