"""``smoothcse evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcse._utils.choices import Precision
from smoothcse.cli.arguments import BackendOption, PoolingOption, split, whole_numbers

if TYPE_CHECKING:
    from smoothcse.evaluation.published import Published

_DATA = "Data"
_INFERENCE = "Inference"
_RESULTS = "Results"


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Run folders, model folders, Hub names, or packaged-minilm.",
            show_default=False,
        ),
    ],
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_DATA,
            help="sts, transfer, geometry, retrieval or all; separate several with commas, or repeat the option. "
            "`smoothcse list tasks` explains them. [sts]",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_DATA,
            help="For sts, transfer and geometry: a folder in SentEval's layout, a folder that contains such folders "
            "named sts and transfer, or hub (hub@COMMIT pins a commit). For retrieval: a .jsonl, .csv, .tsv or "
            ".parquet file with the columns query and document, or a folder in BEIR's layout. "
            "[hub for sts and transfer; this Python's documentation for geometry and retrieval]",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_DATA,
            help="Query column and document column of a retrieval file, separated by a comma. "
            "[query,document; question,answer; or anchor,positive]",
        ),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            min=2,
            rich_help_panel=_DATA,
            help="Score only a fixed random sample of this many pairs per STS task, for a quick look. [all]",
            show_default=False,
        ),
    ] = None,
    bm25: Annotated[
        bool,
        typer.Option(
            "--bm25",
            rich_help_panel=_DATA,
            help="For retrieval: also score BM25, and each model fused with BM25.",
        ),
    ] = False,
    cosine_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            rich_help_panel=_DATA,
            help="Weight of the model's cosine similarity in the fused score; BM25 has the rest. [0.7]",
            show_default=False,
        ),
    ] = None,
    maxsim: Annotated[
        bool,
        typer.Option(
            "--maxsim",
            rich_help_panel=_DATA,
            help="With --bm25: also reorder the first 50 documents of each query by late interaction (MaxSim), and "
            "print what that costs.",
        ),
    ] = False,
    dimensions: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_INFERENCE,
            help="Numbers of first dimensions to score each model with, one row each, such as 384,128,64. [all]",
        ),
    ] = None,
    pooling: PoolingOption = None,
    backend: BackendOption = None,
    precision: Annotated[
        Precision, typer.Option(rich_help_panel=_INFERENCE, help="Arithmetic of the model. auto is fp32 here.")
    ] = "fp32",
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=_INFERENCE, help="Sentences per batch. [chosen for the device]", show_default=False
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_RESULTS,
            help="Systems whose published STS results to print below the models': separate several with commas "
            "(gs-infonce,simcse), or repeat the option. `smoothcse list published` lists them.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            rich_help_panel=_RESULTS,
            help="JSON file to write; a CSV file of the same name is written beside it.",
        ),
    ] = None,
) -> None:
    """Score models on STS, transfer, retrieval or geometry.

    Example: `smoothcse evaluate my-encoder bert-base-uncased --compare gs-infonce,simcse -o scores.json`
    """
    from rich.console import Console

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.evaluation.evaluate import evaluate
    from smoothcse.evaluation.results import check_output
    from smoothcse.evaluation.task_groups import task_groups

    quiet_libraries()
    # Everything that can be checked is checked before the first sentence is encoded.
    groups = task_groups(split(tasks) or ["sts"])
    published = _published(models, split(compare), groups)
    if output:
        check_output(output)
    result = evaluate(
        models,
        groups,
        data,
        columns=split(columns) or None,
        pairs=pairs,
        bm25=bm25,
        cosine_weight=cosine_weight,
        maxsim=maxsim,
        dimensions=whole_numbers("--dimensions", split(dimensions)),
        pooling=pooling,
        backend=backend,
        precision=precision,
        batch_size=batch_size,
        console=Console(stderr=True),
    )
    console = Console()
    for table in result.tables(published):
        console.print(table)
        console.print()
    for diagnosis in result.diagnoses():
        console.print(diagnosis, markup=False, highlight=False)
    if output:
        result.save(output)


def _published(models: list[str], systems: list[str], groups: list[str]) -> list[Published]:
    """Return the published results of the systems to compare with."""
    from smoothcse.errors import SmoothCSEError
    from smoothcse.evaluation.published import is_system, published_results

    misplaced = [name for name in models if is_system(name) and not Path(name).exists()]
    if misplaced:
        raise SmoothCSEError(
            f"{misplaced[0]!r} is a published system, not a model; to compare with it, write "
            f"--compare {','.join([*systems, *misplaced])}."
        )
    if systems and "sts" not in groups:
        raise SmoothCSEError("The published results to compare with are those of sts; add it to --tasks.")
    return [row for name in dict.fromkeys(systems) for row in published_results(name)]
