"""Axes of a plot, and the elements that plots are drawn with, as SVG that takes its colours from the page.

The elements have the classes ``line``, ``dot``, ``area``, ``grid`` and ``text``, and ``c0`` to ``c7`` for the colours
of series, which ``page.css`` defines for light mode, dark mode and print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup

from smoothcse.runs.curves import Points

COLOURS = 8
"""Number of colours; further series repeat them."""

WIDTH, HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM = 60, 24, 14, 44
_NARROWEST = 1e-4  # minimum range of an axis, relative to its values

Range = tuple[float, float]


class Frame:
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
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def axes(self, x: str, y: str) -> Markup:
        """Return the grid, the tick labels and the axis labels."""
        left, bottom = self.at(self.x_range[0], self.y_range[0])
        right, top = self.at(self.x_range[1], self.y_range[1])
        parts = []
        for value, words in ticks(*self.x_range):
            place = self.at(value, self.y_range[0])[0]
            parts.append(stroke("grid", [(place, top), (place, bottom)]))
            parts.append(text(place, bottom + 16, words, "middle"))
        for value, words in (log_ticks if self.log else ticks)(*self.y_range) if self.y_ticks else ():
            place = self.at(self.x_range[0], value)[1]
            parts.append(stroke("grid", [(left, place), (right, place)]))
            parts.append(text(left - 6, place + 4, words, "end"))
        parts.append(stroke("axis", [(left, bottom), (right, bottom)]))
        parts.append(text((left + right) / 2, HEIGHT - 8, x, "middle label"))
        parts.append(text(12, (top + bottom) / 2, y, "middle label upright"))
        return Markup("").join(parts)

    def end(self, points: Points) -> tuple[float, float]:
        """Return the position of a label: right of the last point, or above it if the line comes from the right."""
        x, y = self.at(*points[-1])
        return (x - 3, y - 10) if len(points) > 1 and points[-1][0] < points[-2][0] else (x + 9, y + 4)


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


def widened(ends: Range, share: float, log: bool = False) -> Range:
    """Return a range with a margin at both ends, never empty nor so narrow that tick labels need many digits."""
    low, high = ends
    if log:
        air = (high / low) ** share if high > low else 2.0
        return low / air, high * air
    wide = high - low > _NARROWEST * max(abs(low), abs(high))
    air = (high - low) * share if wide else abs(low) * 0.1 or 0.5
    return low - air, high + air


def dot(place: tuple[float, float], colour: int, hover: str) -> Markup:
    """Return a dot with a hover text."""
    return Markup('<circle class="dot c{}" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}</title></circle>').format(
        colour % COLOURS, *place, hover
    )


def stroke(classes: str, places: Iterable[tuple[float, float]]) -> Markup:
    """Return a line through some positions; the classes say how it looks."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return Markup('<polyline class="{}" points="{}"/>').format(classes, points)


def text(x: float, y: float, words: str, classes: str) -> Markup:
    """Return words at a position."""
    # The label of the y axis is rotated around its own position.
    turn = Markup(' transform="rotate(-90 {:.1f} {:.1f})"').format(x, y) if "upright" in classes else ""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}"{}>{}</text>').format(classes, x, y, turn, words)


def svg(alt: str, parts: Iterable[Markup]) -> Markup:
    """Return a picture with a description for those who cannot see it."""
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, alt, Markup("\n").join(parts)
    )
