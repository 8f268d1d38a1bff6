"""``smoothcse demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the documents, the two runs and the chart.")] = Path("demo"),
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each run.")] = 70,
) -> None:
    """Adapt an encoder to the documentation of the installed Python, and score it (about 6 minutes on two cores).

    Two runs learn from the documents alone: one from a sentence and the rest of its passage, and its control from
    dropout. Labelled queries then score the encoder before and after, alone and fused with BM25.

    The setting of the paper, with [CLS] pooling, dropout and noise, is
    `smoothcse train python-docs --model packaged-minilm --pooling cls --output gs-infonce`.

    Example: `smoothcse demo --steps 100 --output my-demo`
    """
    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.experiments.demo import run_demo

    quiet_libraries()
    run_demo(output, steps)
