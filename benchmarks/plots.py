"""Draw the figures of ``docs/explanations`` from the results in ``benchmarks/results``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

from harness import RESULTS

from smoothcse.runs.curves import pyplot

OURS, PEER = "#1b6ca8", "#c96f3b"
COLOURS = {"ours": OURS, "sentence-transformers": PEER, "dense": PEER, "broadcast": "#888888"}
COLOURS |= {"cached": OURS, "plain": PEER}


def draw(target: Path) -> None:
    """Draw one panel per benchmark that has results."""
    panels = [(panel, found) for panel in PANELS if (found := measured(panel.__name__))]
    plt = pyplot()
    figure, axes = plt.subplots(1, len(panels), figsize=(3.6 * len(panels), 3.2), layout="constrained", squeeze=False)
    for axis, (panel, found) in zip(axes[0], panels, strict=True):
        panel(axis, found)
        axis.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, dpi=110)
    plt.close(figure)


def draw_long_run(target: Path) -> None:
    """Draw the memory of the long run over time."""
    if not (found := measured("long_run")):
        return
    plt = pyplot()
    samples = found["samples"]
    figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
    axes.plot([second / 60 for second in samples["seconds"]], samples["memory_mb"], linewidth=1, color=OURS)
    axes.set(xlabel="minutes", ylabel="resident MB of the training", ylim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(target, dpi=130)
    plt.close(figure)


def measured(name: str) -> dict[str, Any] | None:
    """Return a benchmark's results, if there are any."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else None


def training_step(axis: Any, found: dict[str, Any]) -> None:
    """Draw the seconds per 64 sentences, so that all batch sizes have one scale."""
    labels = [f"{step['batch']}, {step['precision']}" for step in found["steps"]]
    ways = {
        way: [[value * 64 / step["batch"] for value in step["seconds"][way]] for step in found["steps"]]
        for way in ("ours", "sentence-transformers")
    }
    bars(axis, labels, ways)
    axis.set(title="Training step, MiniLM", xlabel="batch", ylabel="seconds per 64 sentences")


def encoding(axis: Any, found: dict[str, Any]) -> None:
    """Draw the sentences encoded per second."""
    kinds = list(found["ratios"])
    ways = {
        way: [[found["sentences"] / value for value in found["seconds"][f"{way}, {kind}"]] for kind in kinds]
        for way in ("ours", "sentence-transformers")
    }
    bars(axis, kinds, ways)
    axis.set(title="Encoding, MiniLM", ylabel="sentences per second")


def loss_alone(axis: Any, found: dict[str, Any]) -> None:
    """Draw the peak memory of each implementation by N."""
    curves(axis, found["points"], "n", ("ours", "dense", "broadcast"))
    axis.set(title="The loss alone, M = 3 N, d = 768", xlabel="N", ylabel="peak memory, MB")


def batch_memory(axis: Any, found: dict[str, Any]) -> None:
    """Draw the peak memory of a step by batch size."""
    curves(axis, found["points"], "batch", ("cached", "plain"))
    axis.set(title="Memory of a step, MiniLM", xlabel="batch", ylabel="peak memory, MB")


PANELS: tuple[Callable[[Any, dict[str, Any]], None], ...] = (training_step, encoding, loss_alone, batch_memory)


def bars(axis: Any, labels: list[str], ways: dict[str, list[list[float]]]) -> None:
    """Draw medians as grouped bars with the range over rounds."""
    for number, (way, values) in enumerate(ways.items()):
        middles = [median(rounds) for rounds in values]
        below = [middle - min(rounds) for middle, rounds in zip(middles, values, strict=True)]
        above = [max(rounds) - middle for middle, rounds in zip(middles, values, strict=True)]
        places = [place + 0.4 * number for place in range(len(labels))]
        axis.bar(places, middles, 0.38, yerr=(below, above), capsize=3, color=COLOURS[way], label=way)
    axis.set_xticks([place + 0.2 for place in range(len(labels))], labels)


def curves(axis: Any, points: Iterable[dict[str, Any]], along: str, forms: tuple[str, ...]) -> None:
    """Draw peak memory by size on logarithmic axes, one curve per implementation."""
    known = sorted((point for point in points if "peak_mb" in point), key=lambda point: int(point[along]))
    for form in forms:
        curve = [(point[along], point["peak_mb"]) for point in known if point["form"] == form]
        if curve:
            axis.plot(*zip(*curve, strict=True), "o-", label=form, color=COLOURS[form])
    axis.set(xscale="log", yscale="log")
    axis.grid(alpha=0.3)
