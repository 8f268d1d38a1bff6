"""``smoothcse evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smoothcse.cli.arguments import PoolingOption, split

if TYPE_CHECKING:
    from smoothcse.evaluation.published import Published


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(help="Run folders, model folders, hub names, or packaged-minilm.", show_default=False),
    ],
    tasks: Annotated[
        list[str] | None,
        typer.Option(help="sts, transfer, geometry, retrieval or all; several with commas, or repeat. [sts]"),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="For sts, transfer and geometry: a folder in SentEval's layout, one with such folders sts and "
            "transfer in it, or hub, which hub@COMMIT pins. For retrieval: a .jsonl, .csv, .tsv or .parquet file with "
            "the columns query and document, or a folder in BEIR's layout. Without it, sts and transfer take the hub, "
            "the others the Python documentation."
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Columns of the queries and their documents in a file for retrieval; two, with a comma. "
            "[query,document; question,answer; or anchor,positive]"
        ),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Score a fixed sample of so many pairs of each STS task, for a quick look. [all, as papers do]",
            show_default=False,
        ),
    ] = None,
    pooling: PoolingOption = None,
    precision: Annotated[str, typer.Option(help="fp32 or bf16; the same on every machine.")] = "fp32",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sentences per forward. [as many as suit the device]", show_default=False)
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            help="Systems whose published figures to show, e.g. gs-infonce simcse; see `smoothcse published`."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .json file for the results; a .csv is put beside it.")
    ] = None,
) -> None:
    """Score models on STS, transfer, retrieval or geometry, published figures beside them on request."""
    from rich.console import Console

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.evaluation.evaluate import evaluate, task_groups
    from smoothcse.evaluation.results import check_output

    quiet_libraries()
    # All that can be wrong is found before the first sentence is encoded.
    groups = task_groups(split(tasks) or ["sts"])
    models, published = _published(models, split(compare), groups)
    if output:
        check_output(output)
    result = evaluate(
        models,
        groups,
        data,
        columns=split(columns) or None,
        pairs=pairs,
        pooling=pooling,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
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


def _published(models: list[str], systems: list[str], groups: list[str]) -> tuple[list[str], list[Published]]:
    """Return the models proper, and the rows of the systems that are to stand beside them.

    An option takes one value, so that in ``--compare gs-infonce simcse`` the second name arrives among the models.
    """
    from smoothcse.errors import SmoothCSEError
    from smoothcse.evaluation.published import is_system, published_results

    if not systems:
        return models, []
    if "sts" not in groups:
        raise SmoothCSEError("The published figures to compare with are those of sts; add it to --tasks.")
    more = [name for name in models if is_system(name) and not Path(name).exists()]
    names = dict.fromkeys([*systems, *more])
    return [name for name in models if name not in more], [row for name in names for row in published_results(name)]
