"""Tables of figures that fit a terminal of 80 columns."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from rich import box
from rich.measure import Measurement
from rich.table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_NARROWEST_NAME = 24  # minimum width of a wrapped name


class FigureTable(Table):
    """A table that never wraps a figure: in a narrow terminal, names wrap and columns continue in a second part.

    Args:
        names: Headings of the leading columns, which name a row and are repeated in each part.
        figures: Headings of the columns with figures.
        title: Line above the table.
        caption: Lines below the table.
    """

    def __init__(self, names: Iterable[str], figures: Iterable[str], title: Any = None, caption: Any = None) -> None:
        super().__init__(
            title=title,
            caption=caption,
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for heading in names:
            self.add_column(heading, overflow="fold")
        self._leading = len(self.columns)
        for heading in figures:
            self.add_column(heading, justify="right", no_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render the table in as many parts as the width requires."""
        parts = list(self._parts(console, options))
        for part in parts:
            whole = copy.copy(self)
            whole.columns = [dataclasses.replace(column, _index=place) for place, column in enumerate(part)]
            whole.title = self.title if part is parts[0] else None
            whole.caption = self.caption if part is parts[-1] else None
            yield from Table.__rich_console__(whole, console, options)

    def _parts(self, console: Console, options: ConsoleOptions) -> Iterator[list[Column]]:
        """Yield the columns of each part: the names, and as many other columns as fit."""
        names, others = self.columns[: self._leading], self.columns[self._leading :]
        used = sum(_least_width(console, options, column) for column in names)
        part, left = [*names], options.max_width - used
        for column in others:
            width = _least_width(console, options, column)
            if width > left and len(part) > len(names):
                yield part
                part, left = [*names], options.max_width - used
            part, left = [*part, column], left - width
        yield part


def _least_width(console: Console, options: ConsoleOptions, column: Column) -> int:
    """Return the minimum width of a column, including the space after it."""
    widest = max(Measurement.get(console, options, cell).maximum for cell in (column.header, *column.cells))
    return (widest if column.no_wrap else min(widest, _NARROWEST_NAME)) + 2
