"""``smoothcse report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcse.errors import SmoothCSEError

_FOLLOW = "With --follow"


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Run folders; several are compared.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="HTML file to write. [report.html in RUN, or in the folder that holds all RUNs]"
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Plot the run's curves in the terminal until it finishes; write no page."),
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", rich_help_panel=_FOLLOW, help="Plot the curves once and exit.")
    ] = False,
    interval: Annotated[
        float | None, typer.Option(min=0.1, rich_help_panel=_FOLLOW, help="Seconds between updates. [2]")
    ] = None,
) -> None:
    """Write one HTML page about one or several runs, or follow a run in the terminal.

    The output folder of `smoothcse adapt` gets the page of the adaptation.

    The page is a single file that opens offline. It shows the logged curves, and the similarities and nearest
    neighbours before and after training, measured on a sample of the run's text.

    With `--follow`, leave with Ctrl-C; the run is not affected.

    Examples: `smoothcse report my-encoder`, `smoothcse report --follow my-encoder`
    """
    if follow:
        _follow(runs, output, once, interval)
        return
    if once or interval is not None:
        raise SmoothCSEError("--once and --interval need --follow.")

    from rich.console import Console

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.report.adaptation import is_adaptation, write_adaptation_report
    from smoothcse.report.page import write_report

    quiet_libraries()
    if any(map(is_adaptation, runs)):
        if len(runs) > 1:
            raise SmoothCSEError("An adaptation has a report of its own; give its folder alone.")
        file = write_adaptation_report(runs[0], output)
    else:
        file = write_report(runs, output, console=Console(stderr=True))
    typer.echo(f"The report is in {file}.")


def _follow(runs: list[Path], output: Path | None, once: bool, interval: float | None) -> None:
    if len(runs) != 1:
        raise SmoothCSEError(f"--follow takes one run folder, not {len(runs)}.")
    if output is not None:
        raise SmoothCSEError("--follow writes no file; leave out --output, or --follow.")

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.report.follow import follow_run

    quiet_libraries()
    follow_run(runs[0], once=once, interval=2.0 if interval is None else interval)
