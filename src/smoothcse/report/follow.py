"""The curves of a run in the terminal, updated while it trains: ``smoothcse report --follow``."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from smoothcse._utils.extras import extra
from smoothcse.report.read import RecordedRun, read_run
from smoothcse.runs.curves import Points

_CURVES = {"loss": "loss", "eval_dev_score": "dev score", "noise_share": "noise share"}
_ROWS = 9  # terminal rows per plot, so that three plots fit a usual terminal


def follow_run(run: Path, *, once: bool = False, interval: float = 2.0, console: Console | None = None) -> None:
    """Plot a run's loss, dev score and noise share, and update the plots until the run has finished.

    The function only reads files, so the run may be on another machine and may be restarted meanwhile.

    Args:
        run: Run folder.
        once: Whether to plot the current state once and return.
        interval: Seconds between updates.
        console: Console to draw on. Default: standard output.

    Raises:
        SmoothCSEError: If the folder holds no run, or the extra ``plots`` is not installed.
    """
    console = console or Console()
    recorded = read_run(run)
    if once:
        console.print(_picture(recorded, console.width))
        return
    with Live(_picture(recorded, console.width), console=console, auto_refresh=False) as live:
        while not recorded.finished:
            time.sleep(interval)
            recorded = read_run(run)
            live.update(_picture(recorded, console.width), refresh=True)


def _picture(run: RecordedRun, width: int) -> Group:
    curves = {title: points for key, title in _CURVES.items() if (points := run.curve(key))}
    return Group(Text(_headline(run), style="bold"), *(_plot(t, p, width) for t, p in curves.items()))


def _headline(run: RecordedRun) -> str:
    score = f", dev score {run.result.best_score:.2f} at step {run.result.best_step}" if run.result else ""
    return f"{run.name}: {run.manifest.status}, step {run.last_step}{score}"


def _plot(title: str, points: Points, width: int) -> Text:
    with extra("plots", "Curves in the terminal"):
        import plotext
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, _ROWS)
    plotext.title(title)
    plotext.plot(*map(list, zip(*points, strict=True)), marker="braille" if len(points) > 1 else "●")
    return Text.from_ansi(plotext.build())
