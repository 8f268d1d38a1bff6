"""Forest plot of a study's tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smoothcse.experiments.comparisons import LEVEL, PairedTest
from smoothcse.experiments.study import Study
from smoothcse.runs.curves import pyplot


def plot_tests(study: Study, found: Sequence[PairedTest], file: Path) -> None:
    """Plot the mean difference of each pair with its interval; the marker is filled if the claim is established.

    One panel for the differences and one for the equivalences, whose margin is shaded in both.

    Args:
        study: The study, with tests.
        found: Results to plot, at least one.
        file: Image file to write.

    Raises:
        SmoothCSEError: If matplotlib (extra ``plots``) is not installed.
    """
    assert study.tests is not None
    margin = study.tests.margin if study.tests.same else None
    kinds = (
        (
            f"Differences: 95% intervals, established at {LEVEL:.0%} after Holm's correction",
            ("differ", "interact", "slope"),
        ),
        (f"Equivalences: 90% intervals, established at {LEVEL:.0%} if within ±{margin or 0:g}", ("same",)),
    )
    shown = [(title, rows) for title, keys in kinds if (rows := [row for row in found if row.key in keys])]
    heights = [len(rows) + 1.0 for _, rows in shown]
    width = 6 + 0.075 * max(len(_label(row)) for row in found)
    plt = pyplot()
    figure, panels = plt.subplots(
        len(shown),
        1,
        figsize=(width, 0.28 * sum(heights) + 0.6 * len(shown) + 0.6),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for axes, (title, rows) in zip(panels[:, 0], shown, strict=True):
        _forest(axes, rows, margin)
        axes.set_title(title, fontsize="medium")
    panels[-1, 0].set_xlabel(f"difference of the {study.tests.score_words()}")
    entries = {
        label: handle for axes in panels[:, 0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=len(entries), frameon=False)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _forest(axes: Any, rows: Sequence[PairedTest], margin: float | None) -> None:
    """Draw one panel, with the first row at the top."""
    if margin is not None:
        axes.axvspan(-margin, margin, color="0.88", label=f"within ±{margin:g}")
    axes.axvline(0, color="0.4", linewidth=1)
    for fill, label, established in (("black", "established", True), ("white", "not established", False)):
        drawn = [(place, row.difference) for place, row in enumerate(rows) if row.established == established]
        if drawn:
            axes.errorbar(
                [difference.mean for _, difference in drawn],
                [place for place, _ in drawn],
                xerr=[difference.half_width for _, difference in drawn],
                fmt="o",
                color="black",
                markerfacecolor=fill,
                capsize=3,
                label=label,
            )
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.3)


def _label(row: PairedTest) -> str:
    where = ", ".join(f"{field} {value}" for field, value in row.point.items())
    return f"{row.name} ({where})" if where else row.name
