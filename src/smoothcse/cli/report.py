"""``smoothcse report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders; several are compared, each a line.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file to write. [report.html in RUN, or in the folder of all RUNs]"),
    ] = None,
) -> None:
    """Write one HTML page about a run, or several side by side.

    The page is a single file that opens offline. It shows what the training logged, and measures similarities and
    neighbours before and after on a sample of the run's text.
    """
    from rich.console import Console

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.report.page import write_report

    quiet_libraries()
    file = write_report(runs, output, console=Console(stderr=True))
    typer.echo(f"The report is in {file}.")
