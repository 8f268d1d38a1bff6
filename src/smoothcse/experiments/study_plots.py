"""Plots of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smoothcse.evaluation.results import AVERAGE
from smoothcse.experiments.comparisons import scores_of
from smoothcse.experiments.run_records import Record, ScoreName
from smoothcse.experiments.statistics import mean_sd
from smoothcse.experiments.study import Study
from smoothcse.experiments.study_tests import SCORE_WORDS
from smoothcse.runs.curves import pyplot


def plot_curves(study: Study, records: Sequence[Record], file: Path) -> None:
    """Plot the dev score against the step: the mean over seeds, and each seed as a thin line.

    One panel for each point of the grid that has a run.

    Raises:
        SmoothCSEError: If matplotlib (extra ``plots``) is not installed.
    """
    points = _points_with_runs(study, records)
    width = min(4.5 * len(points) + 3, 20)
    plt = pyplot()
    figure, panels = plt.subplots(
        1, len(points), figsize=(width, 4.5), layout="constrained", squeeze=False, sharey=True
    )
    for axes, point in zip(panels[0], points, strict=True):
        for number, variant in enumerate(study.variants):
            curves = [r.curve for r in records if r.variant == variant and dict(r.point) == point]
            colour = plt.get_cmap("tab10" if len(study.variants) <= 10 else "tab20")(number)
            for curve in curves:
                axes.plot(*zip(*curve, strict=True), _marker(curve) or "-", color=colour, linewidth=0.6, alpha=0.4)
            if curves:
                steps = [step for step, _ in curves[0]]
                means = [mean_sd([score for _, score in column])[0] for column in zip(*curves, strict=True)]
                style = "--" if variant == study.control else "-"
                axes.plot(
                    steps, means, style + _marker(steps), color=colour, linewidth=2, label=f"{variant} ({len(curves)})"
                )
        axes.set(xlabel="step", title=_point_words(point))
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("dev score")
    panels[0][-1].legend(frameon=False, title="variant (seeds)", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, dpi=130)
    plt.close(figure)


def plot_grid(study: Study, records: Sequence[Record], file: Path) -> None:
    """Plot the mean score at each point of the grid, with the standard deviation over seeds as bars.

    The score is that of the study's tests; without tests, the dev score after the last step.

    Raises:
        SmoothCSEError: If matplotlib (extra ``plots``) is not installed.
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    points = _points_with_runs(study, records)
    name: ScoreName = study.tests.score if study.tests else "last"
    for number, variant in enumerate(study.variants):
        found = [list(scores_of(study, name, records, variant, point).values()) for point in points]
        places = [place + 0.06 * (number - len(study.variants) / 2) for place, scores in enumerate(found) if scores]
        summaries = [mean_sd(scores) for scores in found if scores]
        style = "--" if variant == study.control else "-"
        axes.errorbar(
            places,
            [mean for mean, _ in summaries],
            yerr=[sd or 0.0 for _, sd in summaries],
            fmt=f"o{style}",
            capsize=4,
            label=variant,
        )
    axes.margins(x=0.1)
    axes.set_xticks(range(len(points)), ["\n".join(str(value) for value in point.values()) for point in points])
    axes.set(xlabel=", ".join(study.grid), ylabel=SCORE_WORDS[name] + (_sample(study) if name == "sts" else ""))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def plot_sts(study: Study, records: Sequence[Record], file: Path) -> None:
    """Plot the average of the seven tasks: mean and standard deviation over seeds, and each seed as a small dot.

    One panel for each point of the grid.

    Args:
        study: The study.
        records: Records of runs scored on the seven tasks.
        file: Image file to write.

    Raises:
        SmoothCSEError: If matplotlib (extra ``plots``) is not installed.
    """
    points, names = study.points(), list(study.variants)
    width, height = min(3.5 * len(points) + 3, 20), 0.35 * len(names) + 1.6
    plt = pyplot()
    figure, panels = plt.subplots(
        1, len(points), figsize=(width, height), layout="constrained", squeeze=False, sharex=True, sharey=True
    )
    for axes, point in zip(panels[0], points, strict=True):
        for row, variant in enumerate(names):
            scores = [r.sts[AVERAGE] for r in records if r.sts and r.variant == variant and dict(r.point) == point]
            if scores:
                mean, sd = mean_sd(scores)
                colour = "tab:gray" if variant == study.control else "tab:blue"
                axes.plot(scores, [row] * len(scores), "o", color=colour, markersize=3, alpha=0.4)
                axes.errorbar(mean, row, xerr=sd or 0.0, fmt="o", color=colour, capsize=4)
        axes.set(xlabel=f"average of the seven tasks{_sample(study)}", title=_point_words(point))
        axes.grid(alpha=0.3)
    panels[0][0].set_yticks(range(len(names)), names)
    panels[0][0].invert_yaxis()
    figure.savefig(file, dpi=130)
    plt.close(figure)


def _marker(curve: Sequence[Any]) -> str:
    """Return the marker of a curve, since a line through a single point is invisible."""
    return "o" if len(curve) == 1 else ""


def _points_with_runs(study: Study, records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the points of the grid that have runs; the first point if none has."""
    points = study.points()
    return [point for point in points if any(dict(record.point) == point for record in records)] or points[:1]


def _point_words(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{field} {value}" for field, value in point.items())


def _sample(study: Study) -> str:
    pairs = study.evaluate.pairs if study.evaluate else None
    return f"\n(sample of {pairs} pairs a task)" if pairs else ""
