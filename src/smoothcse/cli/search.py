"""``smoothcse search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def search(
    index: Annotated[Path, typer.Argument(help="Folder of the index.", show_default=False)],
    query: Annotated[str, typer.Argument(help="A sentence.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, help="Documents to show.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="Condition on the metadata, in SQL: \"year >= 2020 AND source = 'x'\".")
    ] = None,
    threshold: Annotated[float | None, typer.Option(min=-1, max=1, help="Least score of a document.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Compare with every document, however many.")] = False,
    model: Annotated[str | None, typer.Option(help="Where the index's model is, if it has moved.")] = None,
) -> None:
    """Find the documents of an index that are nearest to a query, by cosine similarity."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from smoothcse.quiet import quiet_libraries
    from smoothcse.search import Index

    quiet_libraries()
    opened = Index.open(index, model)
    table = Table(show_lines=False)
    table.add_column("score", justify="right")
    table.add_column("document", overflow="fold")
    for name in opened.fields:
        table.add_column(escape(name))
    for hit in opened.search(query, k, where=where, threshold=threshold, exact=exact):
        fields = (escape(str(hit.metadata.get(name, ""))) for name in opened.fields)
        table.add_row(f"{hit.score:.3f}", escape(hit.text), *fields)
    Console().print(table if table.row_count else "Nothing was found.")
