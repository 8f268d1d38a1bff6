"""``smoothcse index``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcse._utils.choices import IndexQuantisation, Precision
from smoothcse.cli.arguments import ModelArgument, PoolingOption, PrecisionOption
from smoothcse.errors import SmoothCSEError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from smoothcse.search import Document, Index

_DOCUMENTS = "Documents"
_VECTORS = "Vectors"
_CHANGE = "Changing an existing index"


def index(
    model: ModelArgument,
    documents: Annotated[
        str,
        typer.Argument(
            help="Lines (.txt) or rows (.jsonl, .csv, .tsv, .parquet); or, split into passages: a folder, .md, .html, "
            ".pdf, .docx, a hub dataset, or 'python-docs'; or the folder of an adaptation, for its documents.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Index folder to create or extend.", show_default=False)
    ],
    text: Annotated[
        str | None,
        typer.Option(rich_help_panel=_DOCUMENTS, help="Text column. [sentence, text, or the only text column]"),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option("--id", rich_help_panel=_DOCUMENTS, help="Id column. [id if it exists, else a hash of the text]"),
    ] = None,
    pooling: PoolingOption = None,
    precision: PrecisionOption = "auto",
    dimensions: Annotated[
        int | None,
        typer.Option(
            min=1,
            rich_help_panel=_VECTORS,
            help="Keep only the first dimensions of each vector. [all]",
            show_default=False,
        ),
    ] = None,
    quantize: Annotated[
        IndexQuantisation | None,
        typer.Option(
            rich_help_panel=_VECTORS,
            help="Quantisation for approximate search in a large index: product quantisation, one byte or one bit "
            "per dimension. [binary]",
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            rich_help_panel=_CHANGE,
            help="Replace documents whose id is already indexed. Without it, they stay as they are.",
        ),
    ] = False,
    delete: Annotated[
        bool,
        typer.Option("--delete", rich_help_panel=_CHANGE, help="Delete the file's documents from the index."),
    ] = False,
    complete: Annotated[
        bool,
        typer.Option(
            "--complete",
            rich_help_panel=_CHANGE,
            help="Mark the index as complete afterwards, even if an earlier change was interrupted.",
        ),
    ] = False,
) -> None:
    """Index documents for search by words and meaning.

    An existing index receives the documents that it lacks, so repeating an interrupted command resumes it. Until every
    document of the file is indexed, the index reports that it is incomplete. All other columns become metadata to
    filter by.

    Example: `smoothcse index my-encoder documents.jsonl -o documents.index`
    """
    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.encoders.precision import precision_notice, resolve_precision

    if update and delete:
        raise SmoothCSEError("--update and --delete contradict each other; give one of them.")
    if (update or delete) and (pooling or dimensions or quantize):
        raise SmoothCSEError(
            "--pooling, --dimensions and --quantize have no effect with --update or --delete; leave them out."
        )
    from smoothcse._utils.paths import local_path
    from smoothcse.search import Index

    quiet_libraries()
    found = _find(documents, text, id_column)
    source = str(local_path(documents).resolve())
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
            quantisation=quantize,
            source=source,
            complete=complete,
            precision=precision,
        )
    if not delete:
        typer.echo(
            precision_notice(precision, resolve_precision(precision, "encode", made.model.device.type)), err=True
        )
    typer.echo(f"{output} holds {len(made):,} documents.")
    if made.rerank == "maxsim":
        typer.echo(
            "Searches compare the first 50 documents token by token (MaxSim), as the model recommends; an option of "
            "`smoothcse search` leaves this out."
        )
    if made.incomplete:
        typer.echo(f"smoothcse: {made.incomplete}", err=True)


def _find(documents: str, text: str | None, id: str | None) -> Iterator[Document]:
    import os

    from smoothcse._utils.paths import local_path
    from smoothcse.experiments.adapt.layout import RECORD
    from smoothcse.search.split_documents import find_to_index

    if not os.path.isfile(local_path(documents) / RECORD):  # where Path.is_file raises for a name that is too long
        return find_to_index(documents, text, id)
    if text or id:
        raise SmoothCSEError(f"{documents} is an adaptation, which knows its columns; leave out --text and --id.")
    from rich.console import Console

    from smoothcse.experiments.adapt.build_index import documents_of

    return iter(documents_of(local_path(documents), Console(stderr=True)))


def _open(path: Path, model: str, precision: Precision) -> Index:
    import warnings

    from smoothcse.search import Index

    with warnings.catch_warnings(action="ignore"):  # repeating the command completes an incomplete index
        return Index.open(path, model, precision=precision)
