"""``smoothcse methods``."""

from __future__ import annotations

from typing import Annotated

import typer


def methods(
    name: Annotated[
        str | None, typer.Argument(help="Explain this one, with its settings.", show_default=False)
    ] = None,
) -> None:
    """List what can be learned by, or explain one method and its settings."""
    from rich.console import Console
    from rich.table import Table

    from smoothcse.methods.table import METHODS, describe_settings, find_method

    console = Console()
    if name is None:
        table = Table(title="smoothcse train --method NAME", show_lines=True)
        table.add_column("method", no_wrap=True)
        table.add_column("encodes per sentence", justify="right")
        for heading in ("source", "what it adds"):
            table.add_column(heading, overflow="fold")
        for known in METHODS:
            method = find_method(known)
            table.add_row(known, f"{method.encodes:g}", method.title, method.about)
        console.print(table)
        return
    method = find_method(name)
    console.print(f"[bold]{name}[/bold]: {method.title}\n{method.about}")
    rows = describe_settings(method.settings)
    if not rows:
        console.print("It has no settings of its own.")
        return
    table = Table(title=f"smoothcse train --method {name} --settings NAME=VALUE")
    for heading in ("setting", "default", "what it is"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
