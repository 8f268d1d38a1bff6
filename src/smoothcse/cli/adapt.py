"""``smoothcse adapt``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from smoothcse.encoders.packaged import PACKAGED_MINILM


def adapt(
    documents: Annotated[
        str,
        typer.Argument(help="File or folder: .txt, .md, .html, .pdf, .docx, .jsonl, .csv, .parquet."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the model, the index, the verdict and the report.")
    ],
    model: Annotated[
        str, typer.Option(help="Encoder to start from: a folder, a hub name, or 'packaged-minilm'.")
    ] = PACKAGED_MINILM,
    minutes: Annotated[float, typer.Option(help="Time budget.")] = 15.0,
    dev: Annotated[
        str | None,
        typer.Option(help="Your own labels: queries and documents (file or BEIR folder), scored pairs, triplets."),
    ] = None,
    general: Annotated[
        str | None,
        typer.Option(help="STS data, to see what adapting costs elsewhere: SentEval folder or 'hub'."),
    ] = None,
    column: Annotated[str | None, typer.Option(help="Column of the text in tables. [text]")] = None,
    title: Annotated[str | None, typer.Option(help="Column of the title in tables. [title]")] = None,
    language: Annotated[str, typer.Option(help="Language of the documents as an ISO 639 code.")] = "en",
    max_tokens: Annotated[
        int | None, typer.Option(help="Maximum tokens of a passage. [128 for files; rows of tables stay whole]")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Arithmetic: fp32, bf16, or auto (bf16 if the hardware supports it).")
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the held-out documents and of training.")] = 0,
    no_index: Annotated[
        bool, typer.Option("--no-index", help="Leave out the index of the documents, which is built at the end.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the adaptation in the folder.")] = False,
) -> None:
    """Adapt an encoder to your documents without labels, and learn whether it is better on them.

    Some documents are held out. Queries made from them select among training settings, and compare the result with the
    start: alone, and fused with BM25. If adapting does not help, you get the start back. The report, `report.html` in
    the output folder, has all figures. Then the documents are indexed, and `smoothcse serve` with the output folder
    opens a page that searches them. An interrupted adaptation continues when the same command is given again.

    Example: `smoothcse adapt docs/ -o my-encoder --minutes 10`
    """
    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.experiments.adapt import adapt as adapt_to
    from smoothcse.report.adaptation import write_adaptation_report

    quiet_libraries()
    options: dict[str, Any] = {"column": column, "title": title, "language": language, "max_tokens": max_tokens}
    result = adapt_to(
        documents,
        model=model,
        output=output,
        overwrite=overwrite,
        index=not no_index,
        minutes=minutes,
        dev=dev,
        general=general,
        precision=precision,
        seed=seed,
        **options,
    )
    typer.echo(f"The report is in {write_adaptation_report(result.folder)}.")
