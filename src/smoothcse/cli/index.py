"""``smoothcse index``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcse.cli.arguments import ModelArgument, PoolingOption


def index(
    model: ModelArgument,
    documents: Annotated[
        Path, typer.Argument(help="A .txt (one a line), .jsonl, .csv, .tsv or .parquet file.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the index.", show_default=False)],
    pooling: PoolingOption = None,
    text: Annotated[str | None, typer.Option(help="Column of the text. [sentence, text, or the only one]")] = None,
    id_column: Annotated[
        str | None, typer.Option("--id", help="Column of the id. [id, else a digest of the text]")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Keep the first so many dimensions of each vector.", show_default=False)
    ] = None,
    codes: Annotated[
        str | None,
        typer.Option(help="Search a large index by pq, int8 (a byte per dimension) or binary (a bit). [binary]"),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Replace documents whose id is in the index; without, they are kept.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the documents of the file from the index.")] = False,
) -> None:
    """Index documents for search by meaning.

    An index that is there already gets what it lacks, so the same command goes on with one that was cut off. The other
    columns of the documents become metadata to filter by.
    """
    from smoothcse.errors import SmoothCSEError
    from smoothcse.quiet import quiet_libraries

    if update and delete:
        raise SmoothCSEError("--update and --delete contradict each other; give one of them.")
    from smoothcse.search import Index, read_documents

    quiet_libraries()
    found = read_documents(documents, text, id_column)
    if delete:
        made = Index.open(output, model)
        made.delete(document.id for document in found)
    elif update:
        made = Index.open(output, model)
        made.update(found)
    else:
        made = Index.build(output, model, found, pooling=pooling, dimensions=dimensions, codes=codes)  # type: ignore[arg-type]
    typer.echo(f"{output} holds {len(made):,} documents.")
