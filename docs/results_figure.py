"""Figure of the adaptation study: the gain of some arms on each domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

from smoothcse.experiments.statistics import Difference, paired_difference
from smoothcse.runs.curves import pyplot

ARMS = {
    "sentence": "a sentence and its rest",
    "sentence-noise": "… with published noise",
    "sentence-share0.2": "… with a noise share of 0.2",
    "sentence-share0.4": "… with a noise share of 0.4",
    "crops": "two crops",
    "dropout": "dropout",
}
"""Arms of the figure and their labels, from top to bottom."""

WAYS = {"cosine": ("alone", -0.12, "tab:blue"), "fused": ("fused with BM25", 0.12, "tab:orange")}


def plot_gains(runs: Sequence[Mapping[str, Any]], domains: Sequence[str], encoder: str, file: Path) -> None:
    """Plot MRR minus that of the start, a panel per domain; bars are 95% intervals over seeds.

    Args:
        runs: Runs of the study that did not fail.
        domains: Domain of each panel.
        encoder: Encoder whose runs are shown.
        file: Image file to write.
    """
    plt = pyplot()
    figure, panels = plt.subplots(1, len(domains), figsize=(10, 3), sharey=True, layout="constrained", squeeze=False)
    for panel, domain in zip(panels[0], domains, strict=True):
        chosen = [run for run in runs if run["domain"] == domain and run["encoder"] == encoder]
        for way, (label, offset, colour) in WAYS.items():
            gains = [gain(chosen, arm, way) for arm in ARMS]
            known = [(place + offset, found) for place, found in enumerate(gains) if found is not None]
            panel.errorbar(
                [found.mean for _, found in known],
                [place for place, _ in known],
                xerr=[found.half_width or nan for _, found in known],  # no bar for a single run
                fmt="o",
                color=colour,
                capsize=3,
                markersize=4,
                label=label,
            )
        panel.axvline(0, color="0.4", linewidth=1)
        panel.grid(axis="x", alpha=0.3)
        panel.set(title=domain, xlabel="MRR × 100, minus start")
    panels[0][0].set_yticks(range(len(ARMS)), ARMS.values())
    panels[0][0].invert_yaxis()
    panels[0][-1].legend(fontsize="small", loc="lower left")
    figure.savefig(file, dpi=120)
    plt.close(figure)


def gain(runs: Sequence[Mapping[str, Any]], arm: str, way: str) -> Difference | None:
    """Return the gain of an arm over the start; None if it has no runs."""
    scores = [run["mrr"][way] for run in runs if run["arm"] == arm]
    [start] = [run["mrr"][way] for run in runs if run["arm"] == "start"]
    return paired_difference(scores, [start] * len(scores)) if scores else None
