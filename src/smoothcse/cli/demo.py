"""``smoothcse demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the two runs and the learning curves.")] = Path("demo"),
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each run.")] = 60,
) -> None:
    """Train on the documentation of the installed Python and print the scores (about 8 minutes on two cores).

    Example: `smoothcse demo --steps 100 --output my-demo`
    """
    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.experiments.demo import run_demo

    quiet_libraries()
    run_demo(output, steps)
