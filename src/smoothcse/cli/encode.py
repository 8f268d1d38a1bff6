"""``smoothcse encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcse.cli.arguments import ModelArgument, PoolingOption, split

_RAY = "With --engine ray"
_SMALLER = "Smaller embeddings"
_PROMPTS = "Prompts of the model"


def encode(
    model: ModelArgument,
    texts: Annotated[
        Path,
        typer.Argument(
            help="A .txt (one sentence a line), .jsonl, .csv, .tsv or .parquet file (text also .gz or .zst), or - "
            "for lines on standard input; for the engine ray a .parquet file or a folder of them."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Where to: a .npy or .parquet file; for the engine ray a folder."),
    ],
    column: Annotated[str | None, typer.Option(help="Column of the text. [sentence, text, or the only one]")] = None,
    pooling: PoolingOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sentences per forward. [as many as suit the device]", show_default=False)
    ] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto: bf16 where the hardware has it, which is then said.")
    ] = "auto",
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale each embedding to length 1.")] = False,
    input_type: Annotated[
        str | None,
        typer.Option(rich_help_panel=_PROMPTS, help="query or document: use the model's prompt for these."),
    ] = None,
    prompt_name: Annotated[
        str | None, typer.Option(rich_help_panel=_PROMPTS, help="Use this prompt of the model. [its default prompt]")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(rich_help_panel=_PROMPTS, help="Put this text in front of each sentence instead.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_SMALLER, help="Keep the first so many of each. [all]")
    ] = None,
    embedding_precision: Annotated[
        str, typer.Option(rich_help_panel=_SMALLER, help="float32, int8, uint8, binary or ubinary.")
    ] = "float32",
    ranges: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_SMALLER,
            help="For int8 and uint8: the .ranges.npy of an earlier encoding, which the shards of one corpus and the "
            "queries to it must share. [found in the first 8,192 lines]",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="local: this process. ray: a Ray cluster; the same command again goes on where it was stopped."
        ),
    ] = "local",
    keep: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_RAY,
            help="Columns to copy beside the embedding; several with commas, or repeat. [the sentences]",
        ),
    ] = None,
    rows_per_shard: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_RAY, help="Rows of a file of the output. [131072]")
    ] = None,
    cpus_per_worker: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_RAY, help="Threads of each worker. [1]")
    ] = None,
) -> None:
    """Turn each record of a file into an embedding, at constant memory.

    Row i of the output is line i of a .txt file, empty lines included, or record i of another format.
    """
    from smoothcse.errors import SmoothCSEError

    ray_options = {
        "keep": split(keep),
        "rows_per_shard": rows_per_shard,
        "cpus_per_worker": cpus_per_worker,
    }
    given = {name: value for name, value in ray_options.items() if value}
    prompts = {"input_type": input_type, "prompt_name": prompt_name, "prompt": prompt}
    if engine not in ("local", "ray"):
        raise SmoothCSEError(f"--engine {engine!r} is unknown; choose local or ray.")
    if given and engine == "local":
        raise SmoothCSEError(f"--{next(iter(given)).replace('_', '-')} needs --engine ray.")
    if engine == "ray" and (dimensions or ranges or embedding_precision != "float32"):
        raise SmoothCSEError("--engine ray writes whole float32 embeddings; leave out the options of smaller ones.")

    from smoothcse._utils.quiet import quiet_libraries

    quiet_libraries()
    if engine == "ray":
        from smoothcse.bulk.ray.driver import encode_on_ray

        encode_on_ray(
            model,
            texts,
            output,
            column=column,
            pooling=pooling,  # type: ignore[arg-type]
            batch_size=batch_size,
            precision=precision,  # type: ignore[arg-type]
            normalize=normalize,
            **prompts,  # type: ignore[arg-type]
            **given,  # type: ignore[arg-type]
        )
        return

    from smoothcse.bulk.encode_file import encode_file
    from smoothcse.encoders.load import load_encoder

    encode_file(
        load_encoder(model, pooling),  # type: ignore[arg-type]
        texts,
        output,
        column=column,
        batch_size=batch_size,
        precision=precision,  # type: ignore[arg-type]
        normalize=normalize,
        dimensions=dimensions,
        embedding_precision=embedding_precision,  # type: ignore[arg-type]
        ranges=ranges,
        **prompts,  # type: ignore[arg-type]
    )
