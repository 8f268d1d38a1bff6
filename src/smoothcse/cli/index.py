"""``smoothcse index``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcse.cli.arguments import ModelArgument, PoolingOption

if TYPE_CHECKING:
    from smoothcse.search import Index


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
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto: bf16 where the hardware has it, which is then said.")
    ] = "auto",
    update: Annotated[
        bool, typer.Option("--update", help="Replace documents whose id is in the index; without, they are kept.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the documents of the file from the index.")] = False,
    complete: Annotated[
        bool, typer.Option("--complete", help="Call the index complete after this, whatever else was cut off before.")
    ] = False,
) -> None:
    """Index documents for search by meaning.

    An index that is there already gets what it lacks, so the same command goes on with one that was cut off; until all
    documents of the file are in, the index says that it is incomplete. The other columns of the documents become
    metadata to filter by.
    """
    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.encoders.precision import check_precision, precision_notice, resolve_precision
    from smoothcse.errors import SmoothCSEError

    if update and delete:
        raise SmoothCSEError("--update and --delete contradict each other; give one of them.")
    from smoothcse.search import Index, read_documents

    quiet_libraries()
    check_precision(precision, "encode")
    found = read_documents(documents, text, id_column)
    source = str(documents.resolve())
    if delete:
        made = _open(output, model, precision)
        made.delete((document.id for document in found), source=f"{source} --delete", complete=complete)
    elif update:
        made = _open(output, model, precision)
        made.update(found, source=f"{source} --update", complete=complete)
    else:
        made = Index.build(
            output,
            model,
            found,
            pooling=pooling,
            dimensions=dimensions,
            codes=codes,  # type: ignore[arg-type]
            source=source,
            complete=complete,
            precision=precision,  # type: ignore[arg-type]
        )
    if not delete:
        typer.echo(
            precision_notice(precision, resolve_precision(precision, "encode", made.model.device.type)), err=True
        )
    typer.echo(f"{output} holds {len(made):,} documents.")
    if made.incomplete:
        typer.echo(f"smoothcse: {made.incomplete}", err=True)


def _open(path: Path, model: str, precision: str) -> Index:
    import warnings

    from smoothcse.search import Index

    with warnings.catch_warnings(action="ignore"):  # an incomplete index is what a repeated command is to mend
        return Index.open(path, model, precision=precision)  # type: ignore[arg-type]
