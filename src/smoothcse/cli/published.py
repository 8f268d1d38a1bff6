"""``smoothcse published``."""

from __future__ import annotations

from typing import Annotated

import typer


def published(
    systems: Annotated[
        list[str] | None, typer.Argument(metavar="[SYSTEM]...", help="Show these alone, e.g. gs-infonce simcse.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Show what was trained from this alone, e.g. BERT-base.")] = None,
) -> None:
    """Print the published figures of GS-InfoNCE and its neighbours, with their sources."""
    from rich.console import Console

    from smoothcse.evaluation.published import published_table

    Console().print(published_table(systems or None, model))
