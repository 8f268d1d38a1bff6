"""``smoothcse encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcse.cli.arguments import ModelArgument, PoolingOption

_RAY = "With --engine ray"
_SMALLER = "Smaller embeddings"


def encode(
    model: ModelArgument,
    texts: Annotated[
        Path,
        typer.Argument(
            help="A text file, one sentence a line (.gz, .zst), or - for standard input; for the engine ray a "
            ".parquet file or a folder of them."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Where to: a .npy or .parquet file; for the engine ray a folder."),
    ],
    pooling: PoolingOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sentences per forward. [as many as suit the device]", show_default=False)
    ] = None,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto: bf16 where the hardware has it, which is then said.")
    ] = "auto",
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale each embedding to length 1.")] = False,
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
    column: Annotated[
        str | None, typer.Option(rich_help_panel=_RAY, help="Column of the sentences, where there are several.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(rich_help_panel=_RAY, help="Column to copy beside the embedding (repeat). [the sentences]"),
    ] = None,
    rows_per_shard: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_RAY, help="Rows of a file of the output. [131072]")
    ] = None,
    cpus_per_worker: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_RAY, help="Threads of each worker. [1]")
    ] = None,
) -> None:
    """Turn each line of a text into an embedding, at constant memory."""
    from smoothcse.errors import SmoothCSEError

    ray_options = {
        "column": column,
        "keep": keep,
        "rows_per_shard": rows_per_shard,
        "cpus_per_worker": cpus_per_worker,
    }
    given = {name: value for name, value in ray_options.items() if value}
    if engine not in ("local", "ray"):
        raise SmoothCSEError(f"--engine {engine!r} is unknown; choose local or ray.")
    if given and engine == "local":
        raise SmoothCSEError(f"--{next(iter(given)).replace('_', '-')} needs --engine ray.")
    if engine == "ray" and (dimensions or ranges or embedding_precision != "float32"):
        raise SmoothCSEError("--engine ray writes whole float32 embeddings; leave out the options of smaller ones.")

    from smoothcse.quiet import quiet_libraries

    quiet_libraries()
    if engine == "ray":
        from smoothcse.scale.ray_encode import encode_on_ray

        encode_on_ray(
            model,
            texts,
            output,
            pooling=pooling,  # type: ignore[arg-type]
            batch_size=batch_size,
            precision=precision,  # type: ignore[arg-type]
            normalize=normalize,
            **given,  # type: ignore[arg-type]
        )
        return

    from smoothcse.bulk import encode_file
    from smoothcse.encoder import load_encoder

    encode_file(
        load_encoder(model, pooling),  # type: ignore[arg-type]
        texts,
        output,
        batch_size=batch_size,
        precision=precision,  # type: ignore[arg-type]
        normalize=normalize,
        dimensions=dimensions,
        embedding_precision=embedding_precision,  # type: ignore[arg-type]
        ranges=ranges,
    )
