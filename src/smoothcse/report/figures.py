"""Plots of a report, as SVG that takes its colours from the surrounding page.

Each function returns one ``<svg>``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from smoothcse.report.axes import COLOURS, LEFT, RIGHT, WIDTH, Frame, Range, dot, stroke, svg, text, widened
from smoothcse.runs.curves import Points

_MOST_POINTS = 400  # per line: about one point per pixel

Ridge = tuple[str, NDArray[np.float32] | None, NDArray[np.float32] | None]
"""Label, values before training and values after; None for unknown values."""


@dataclass(frozen=True)
class Line:
    """One series of a line plot.

    Attributes:
        points: Points in drawing order.
        colour: Index of the colour.
        label: Short label at the end of the line.
        dots: Hover text of each point; the points are then marked. Without hover texts, only a single point is marked.
        ring: Index of the point to circle, or None.
        level: Height of a dashed horizontal line, or None.
    """

    points: Points
    colour: int = 0
    label: str = ""
    dots: Sequence[str] = field(default=())
    ring: int | None = None
    level: float | None = None

    @property
    def hovers(self) -> Sequence[str]:
        """Hover texts of the points to mark; a line of a single point would be invisible without a mark."""
        return self.dots or [f"{x:,g}: {y:.4g}" for x, y in self.points if len(self.points) == 1]


@dataclass(frozen=True)
class Interval:
    """A row of a forest plot.

    Attributes:
        label: Label.
        mean: Value to mark.
        low: Lower end of its interval.
        high: Upper end of its interval.
        colour: Index of the colour.
    """

    label: str
    mean: float
    low: float
    high: float
    colour: int = 0


def line_plot(lines: Sequence[Line], *, x: str, y: str, alt: str, log: bool = False) -> Markup:
    """Draw lines over common axes.

    Args:
        lines: Lines with at least one point in total. A line with more points than pixels is drawn as means of blocks.
        x: Label of the x axis.
        y: Label of the y axis.
        alt: Description of the plot in words.
        log: Whether the y axis is logarithmic; points that are not positive are then left out.
    """
    lines = [_thinned(line, log) for line in lines]
    xs = [point[0] for line in lines for point in line.points]
    ys = [point[1] for line in lines for point in line.points]
    ys += [line.level for line in lines if line.level is not None]
    frame = Frame(widened((min(xs), max(xs)), 0.03), widened((min(ys), max(ys)), 0.08, log), log=log)
    parts = [frame.axes(x, y)]
    for line in lines:
        parts += _series(frame, line)
    ends = [(line.colour, line.label, *frame.end(line.points)) for line in lines if line.points and line.label]
    return svg(alt, [*parts, *_end_labels(ends)])


def scatter_plot(points: Points, trend: Points, *, x: str, y: str, alt: str, x_range: Range, y_range: Range) -> Markup:
    """Draw points and a trend line.

    Args:
        points: Points to draw.
        trend: Points of the trend line.
        x: Label of the x axis.
        y: Label of the y axis.
        alt: Description of the plot in words.
        x_range: Range of the x axis, so that several plots are comparable.
        y_range: Range of the y axis.
    """
    frame = Frame(widened(x_range, 0.03), widened(y_range, 0.03))
    places = (frame.at(*point) for point in points)
    cloud = [Markup('<circle class="point c0" cx="{:.0f}" cy="{:.0f}" r="2"/>').format(*place) for place in places]
    return svg(alt, [frame.axes(x, y), *cloud, *_series(frame, Line(trend, 1))])


def ridge_plot(rows: Sequence[Ridge], *, x: str, alt: str) -> Markup:
    """Draw one histogram per row, before as an outline and after as a filled area, each scaled to the row's height.

    Args:
        rows: Rows, at least one with values.
        x: Label of the x axis.
        alt: Description of the plot in words.
    """
    everything = [values for _, *both in rows for values in both if values is not None]
    low, high = min(np.min(values) for values in everything), max(np.max(values) for values in everything)
    left = math.floor(low * 10) / 10
    frame = Frame((left, max(left + 0.1, math.ceil(high * 10) / 10)), (0.0, float(len(rows))), y_ticks=False)
    bins = np.linspace(*frame.x_range, 101)
    parts = [frame.axes(x, "")]
    for number, (label, before, after) in enumerate(rows):
        base = len(rows) - 1.0 - number
        parts.append(stroke("axis", [frame.at(bins[0], base), frame.at(bins[-1], base)]))
        parts += [
            _area(frame, _outline(values, bins, base), number, filled)
            for values, filled in ((after, True), (before, False))
            if values is not None
        ]
        parts.append(text(LEFT, frame.at(0, base + 0.81)[1], label, f"row c{number}"))
    return svg(alt, parts)


def forest_plot(rows: Sequence[Interval], *, x: str, alt: str) -> Markup:
    """Draw one interval per row, beside a dashed line at zero.

    Args:
        rows: Rows from top to bottom, at least one.
        x: Label of the x axis.
        alt: Description of the plot in words.
    """
    ends = [0.0, *(end for row in rows for end in (row.low, row.high))]
    frame = Frame(widened((min(ends), max(ends)), 0.06), (0.0, float(len(rows))), y_ticks=False)
    parts = [frame.axes(x, ""), stroke("zero", [frame.at(0.0, 0.0), frame.at(0.0, float(len(rows)))])]
    for number, row in enumerate(rows):
        height = len(rows) - number - 0.65
        colour = f"c{row.colour % COLOURS}"
        hover = f"{row.label}: {row.mean:+.2f}, from {row.low:+.2f} to {row.high:+.2f}"
        parts.append(stroke(f"interval {colour}", [frame.at(row.low, height), frame.at(row.high, height)]))
        parts.append(dot(frame.at(row.mean, height), row.colour, hover))
        parts.append(text(LEFT, frame.at(0.0, height + 0.28)[1], row.label, f"row {colour}"))
    return svg(alt, parts)


def _outline(values: NDArray[np.float32], bins: NDArray[np.float64], base: float) -> Points:
    """Return the outline of a histogram, from the first non-empty bin to the last."""
    counts = np.histogram(values, bins)[0]
    used = np.flatnonzero(counts)
    first, last = used[0], used[-1] + 1
    heights = base + 0.78 * counts[first:last] / counts.max()
    edges = np.repeat(bins[first : last + 1], 2)
    return list(zip(edges.tolist(), [base, *np.repeat(heights, 2).tolist(), base], strict=True))


def _series(frame: Frame, line: Line) -> list[Markup]:
    """Return the parts of a series."""
    places = [frame.at(*point) for point in line.points]
    parts = [stroke(f"line c{line.colour % COLOURS}", places)]
    if line.level is not None:
        height = frame.at(frame.x_range[0], line.level)[1]
        parts.insert(0, stroke(f"level c{line.colour % COLOURS}", [(LEFT, height), (WIDTH - RIGHT, height)]))
    parts += [dot(place, line.colour, hover) for place, hover in zip(places, line.hovers, strict=False)]
    if line.ring is not None:
        parts.append(_ring(places[line.ring], line.colour))
    return parts


def _area(frame: Frame, outline: Points, colour: int, filled: bool) -> Markup:
    """Return a closed shape, filled or as its outline."""
    return stroke(f"{'area' if filled else 'outline'} c{colour}", [frame.at(*point) for point in outline])


def _thinned(line: Line, log: bool) -> Line:
    points = [point for point in line.points if point[1] > 0 or not log]
    size = math.ceil(len(points) / _MOST_POINTS)
    if size > 1 and not line.dots:
        blocks = (points[first : first + size] for first in range(0, len(points), size))
        points = [
            (float(np.mean(xs)), float(np.mean(ys))) for xs, ys in (zip(*block, strict=True) for block in blocks)
        ]
    return Line(points, line.colour, line.label, line.dots, line.ring, line.level)


def _end_labels(ends: Iterable[tuple[int, str, float, float]]) -> list[Markup]:
    """Return labels at the ends of lines, moved apart where they would overlap."""
    parts, lowest = [], -math.inf
    for colour, label, x, y in sorted(ends, key=lambda end: end[3]):
        lowest = max(y, lowest + 13)
        parts.append(text(x, lowest, label, f"end-label c{colour % COLOURS}"))
    return parts


def _ring(place: tuple[float, float], colour: int) -> Markup:
    return Markup('<circle class="ring c{}" cx="{:.1f}" cy="{:.1f}" r="7"/>').format(colour % COLOURS, *place)
