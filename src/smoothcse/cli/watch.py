"""``smoothcse watch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def watch(
    run: Annotated[Path, typer.Argument(help="Folder of the run.", show_default=False)],
    once: Annotated[bool, typer.Option("--once", help="Draw what is there and leave.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 2.0,
) -> None:
    """Show the curves of a run in the terminal, live until it has finished.

    Leave with Ctrl-C; the run does not notice.
    """
    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.report.follow import watch as watch_run

    quiet_libraries()
    watch_run(run, once=once, interval=interval)
