"""The progress bar that all commands share."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

_BAR_WIDTH = 12  # leaves room for the figures of a training run in a terminal of 80 columns


def progress_bar(console: Console | None = None, *, unit: str = "") -> Progress:
    """Return a progress bar: description, bar, count, status, and the time left.

    A task whose total is None shows the elapsed time instead. ``progress.update(task, status="...")`` sets the status.

    Args:
        console: Console to draw on; None for standard error.
        unit: Unit of the count, in the plural.
    """
    console = console or Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(_BAR_WIDTH),
        _Count(unit),
        _Status(),
        _Time(),
        console=console,
        # In a notebook, printing flushes the streams, which would print again.
        redirect_stdout=not console.is_jupyter,
        redirect_stderr=not console.is_jupyter,
    )


class _Count(ProgressColumn):
    """Completed items, with the total where it is known: ``12/40 runs``, ``1,234 lines``."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        total = "" if task.total is None else f"/{int(task.total):,}"
        return Text(f"{int(task.completed):,}{total} {self.unit}".rstrip(), style="progress.download")


class _Status(ProgressColumn):
    """Free text of the task."""

    def render(self, task: Task) -> Text:
        return Text(str(task.fields.get("status", "")))


class _Time(ProgressColumn):
    """Time left, or the elapsed time of a task without a total."""

    max_refresh = 0.5  # seconds

    def __init__(self) -> None:
        super().__init__()
        self._left, self._elapsed = TimeRemainingColumn(), TimeElapsedColumn()

    def render(self, task: Task) -> Text:
        if task.total is None:
            return self._elapsed.render(task)
        return Text.assemble("left ", self._left.render(task))
