"""Plots of a report, as SVG that takes its colours from the surrounding page.

Each function returns one ``<svg>``. Its parts have the classes ``line``, ``dot``, ``area``, ``grid`` and ``text``, and
``c0`` to ``c7`` for the colours of series, which ``page.css`` defines for light mode, dark mode and print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from smoothcse.runs.curves import Points

COLOURS = 8
"""Number of colours; further series repeat them."""

WIDTH, HEIGHT = 420, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 24, 14, 44
_MOST_POINTS = 400  # per line: about one point per pixel
_NARROWEST = 1e-4  # minimum range of an axis, relative to its values

Range = tuple[float, float]
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
    frame = _Frame(_widened((min(xs), max(xs)), 0.03), _widened((min(ys), max(ys)), 0.08, log), log=log)
    parts = [frame.axes(x, y)]
    for line in lines:
        parts += frame.line(line)
    ends = [(line.colour, line.label, *frame.end(line.points)) for line in lines if line.points and line.label]
    return _svg(alt, [*parts, *_end_labels(ends)])


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
    frame = _Frame(_widened(x_range, 0.03), _widened(y_range, 0.03))
    places = (frame.at(*point) for point in points)
    cloud = [Markup('<circle class="point c0" cx="{:.0f}" cy="{:.0f}" r="2"/>').format(*place) for place in places]
    return _svg(alt, [frame.axes(x, y), *cloud, *frame.line(Line(trend, 1))])


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
    frame = _Frame((left, max(left + 0.1, math.ceil(high * 10) / 10)), (0.0, float(len(rows))), y_ticks=False)
    bins = np.linspace(*frame.x_range, 101)
    parts = [frame.axes(x, "")]
    for number, (label, before, after) in enumerate(rows):
        base = len(rows) - 1.0 - number
        parts.append(_stroke("axis", [frame.at(bins[0], base), frame.at(bins[-1], base)]))
        parts += [
            frame.area(_outline(values, bins, base), number, filled)
            for values, filled in ((after, True), (before, False))
            if values is not None
        ]
        parts.append(_text(_LEFT, frame.at(0, base + 0.81)[1], label, f"row c{number}"))
    return _svg(alt, parts)


def _outline(values: NDArray[np.float32], bins: NDArray[np.float64], base: float) -> Points:
    """Return the outline of a histogram, from the first non-empty bin to the last."""
    counts = np.histogram(values, bins)[0]
    used = np.flatnonzero(counts)
    first, last = used[0], used[-1] + 1
    heights = base + 0.78 * counts[first:last] / counts.max()
    edges = np.repeat(bins[first : last + 1], 2)
    return list(zip(edges.tolist(), [base, *np.repeat(heights, 2).tolist(), base], strict=True))


class _Frame:
    """The axes of a plot, and the mapping from values to positions.

    Args:
        x_range: Lowest and highest value of the x axis.
        y_range: Lowest and highest value of the y axis.
        log: Whether the y axis is logarithmic.
        y_ticks: Whether the y axis has ticks.
    """

    def __init__(self, x_range: Range, y_range: Range, *, log: bool = False, y_ticks: bool = True) -> None:
        self.x_range, self.y_range, self.log, self.y_ticks = x_range, y_range, log, y_ticks

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the position of a point in the plot."""
        (left, right), (low, high) = self.x_range, self.y_range
        if self.log:
            y, low, high = math.log(y), math.log(low), math.log(high)
        across = (x - left) / (right - left)
        up = (y - low) / (high - low)
        return _LEFT + across * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, x: str, y: str) -> Markup:
        """Return the grid, the tick labels and the axis labels."""
        left, bottom = self.at(self.x_range[0], self.y_range[0])
        right, top = self.at(self.x_range[1], self.y_range[1])
        parts = []
        for value, words in ticks(*self.x_range):
            place = self.at(value, self.y_range[0])[0]
            parts.append(_stroke("grid", [(place, top), (place, bottom)]))
            parts.append(_text(place, bottom + 16, words, "middle"))
        for value, words in (log_ticks if self.log else ticks)(*self.y_range) if self.y_ticks else ():
            place = self.at(self.x_range[0], value)[1]
            parts.append(_stroke("grid", [(left, place), (right, place)]))
            parts.append(_text(left - 6, place + 4, words, "end"))
        parts.append(_stroke("axis", [(left, bottom), (right, bottom)]))
        parts.append(_text((left + right) / 2, HEIGHT - 8, x, "middle label"))
        parts.append(_text(12, (top + bottom) / 2, y, "middle label upright"))
        return Markup("").join(parts)

    def line(self, line: Line) -> list[Markup]:
        """Return the parts of a series."""
        places = [self.at(*point) for point in line.points]
        parts = [_stroke(f"line c{line.colour % COLOURS}", places)]
        if line.level is not None:
            height = self.at(self.x_range[0], line.level)[1]
            parts.insert(0, _stroke(f"level c{line.colour % COLOURS}", [(_LEFT, height), (WIDTH - _RIGHT, height)]))
        parts += [_dot(place, line.colour, hover) for place, hover in zip(places, line.hovers, strict=False)]
        if line.ring is not None:
            parts.append(_ring(places[line.ring], line.colour))
        return parts

    def end(self, points: Points) -> tuple[float, float]:
        """Return the position of a label: right of the last point, or above it if the line comes from the right."""
        x, y = self.at(*points[-1])
        return (x - 3, y - 10) if len(points) > 1 and points[-1][0] < points[-2][0] else (x + 9, y + 4)

    def area(self, outline: Points, colour: int, filled: bool) -> Markup:
        """Return a closed shape, filled or as its outline."""
        return _stroke(f"{'area' if filled else 'outline'} c{colour}", [self.at(*point) for point in outline])


def ticks(low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
    """Return about ``most`` round values from low to high, with their labels."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9) + (step / power == 2.5))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(number * step, f"{number * step:,.{decimals}f}".replace("-", "−")) for number in numbers]


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return 1, 2 and 5 times the powers of ten from low to high, or the powers only if these suffice."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if math.log10(high / low) > 3 else (1, 2, 5)
    values = [factor * 10.0**power for power in powers for factor in factors]
    inside = [value for value in values if low <= value <= high]
    return [(value, f"{value:g}") for value in inside] if len(inside) > 1 else ticks(low, high)


def _widened(ends: Range, share: float, log: bool = False) -> Range:
    """Return a range with a margin at both ends, never empty nor so narrow that tick labels need many digits."""
    low, high = ends
    if log:
        air = (high / low) ** share if high > low else 2.0
        return low / air, high * air
    wide = high - low > _NARROWEST * max(abs(low), abs(high))
    air = (high - low) * share if wide else abs(low) * 0.1 or 0.5
    return low - air, high + air


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
        parts.append(_text(x, lowest, label, f"end-label c{colour % COLOURS}"))
    return parts


def _dot(place: tuple[float, float], colour: int, hover: str) -> Markup:
    return Markup('<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}</title></circle>').format(
        colour % COLOURS, *place, hover
    )


def _ring(place: tuple[float, float], colour: int) -> Markup:
    return Markup('<circle class="ring c{}" cx="{:.1f}" cy="{:.1f}" r="7"/>').format(colour % COLOURS, *place)


def _stroke(classes: str, places: Iterable[tuple[float, float]]) -> Markup:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return Markup('<polyline class="{}" points="{}"/>').format(classes, points)


def _text(x: float, y: float, words: str, classes: str) -> Markup:
    # The label of the y axis is rotated around its own position.
    turn = Markup(' transform="rotate(-90 {:.1f} {:.1f})"').format(x, y) if "upright" in classes else ""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}"{}>{}</text>').format(classes, x, y, turn, words)


def _svg(alt: str, parts: Iterable[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, alt, Markup("\n").join(parts)
    )
