"""``smoothcse encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcse._utils.choices import EmbeddingPrecision, Engine, InputType
from smoothcse.cli.arguments import ModelArgument, PoolingOption, PrecisionOption, split
from smoothcse.errors import SmoothCSEError

_RAY = "With --engine ray"
_QUANTISATION = "Quantisation"
_PROMPTS = "Prompts"


def encode(
    model: ModelArgument,
    texts: Annotated[
        Path,
        typer.Argument(
            help="A .txt file (one sentence per line), a .jsonl, .csv, .tsv or .parquet file (text files may be .gz "
            "or .zst), or - for lines from standard input. With --engine ray: a .parquet file or a folder of them."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A .npy or .parquet file to write. With --engine ray: a folder."),
    ],
    column: Annotated[str | None, typer.Option(help="Text column. [sentence, text, or the only text column]")] = None,
    pooling: PoolingOption = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sentences per batch. [chosen for the device]", show_default=False)
    ] = None,
    precision: PrecisionOption = "auto",
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale each embedding to length 1.")] = False,
    engine: Annotated[
        Engine,
        typer.Option(help="local: this process. ray: a Ray cluster; repeat the command to resume an interrupted job."),
    ] = "local",
    input_type: Annotated[
        InputType | None,
        typer.Option(rich_help_panel=_PROMPTS, help="Use the model's prompt for queries or for documents."),
    ] = None,
    prompt_name: Annotated[
        str | None, typer.Option(rich_help_panel=_PROMPTS, help="Name of a prompt of the model. [its default prompt]")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(rich_help_panel=_PROMPTS, help="Text to put in front of each sentence instead.")
    ] = None,
    dimensions: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=_QUANTISATION, help="Keep only the first dimensions. [all]"),
    ] = None,
    embedding_precision: Annotated[
        EmbeddingPrecision, typer.Option(rich_help_panel=_QUANTISATION, help="Data type of the stored embeddings.")
    ] = "float32",
    ranges: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_QUANTISATION,
            help="For int8 and uint8: the .ranges.npy file of an earlier encoding. All shards of a corpus and the "
            "queries to it must share one. [computed from the first 8,192 embeddings]",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_RAY,
            help="Columns to copy beside the embedding; separate several with commas, or repeat the option. "
            "[the text column]",
        ),
    ] = None,
    rows_per_shard: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_RAY, help="Rows per output file. [131072]")
    ] = None,
    cpus_per_worker: Annotated[
        int | None, typer.Option(min=1, rich_help_panel=_RAY, help="Threads per worker. [1]")
    ] = None,
) -> None:
    """Encode each record of a file; memory does not grow with the file.

    Row i of the output is line i of a .txt file, empty lines included, or record i of another format.

    Example: `smoothcse encode my-encoder sentences.txt -o embeddings.npy --normalize`
    """
    ray_options = {"--keep": keep, "--rows-per-shard": rows_per_shard, "--cpus-per-worker": cpus_per_worker}
    given = [name for name, value in ray_options.items() if value]
    if given and engine == "local":
        raise SmoothCSEError(f"{given[0]} needs --engine ray.")
    if engine == "ray" and (dimensions or ranges or embedding_precision != "float32"):
        raise SmoothCSEError("--engine ray writes whole float32 embeddings; leave out the quantisation options.")

    from smoothcse._utils.quiet import quiet_libraries

    quiet_libraries()
    if engine == "ray":
        from smoothcse.bulk.ray.driver import ROWS_PER_SHARD, encode_on_ray

        encode_on_ray(
            model,
            texts,
            output,
            input_type,
            pooling=pooling,
            prompt_name=prompt_name,
            prompt=prompt,
            column=column,
            keep=split(keep),
            batch_size=batch_size,
            precision=precision,
            normalize=normalize,
            rows_per_shard=rows_per_shard or ROWS_PER_SHARD,
            cpus_per_worker=cpus_per_worker or 1,
        )
        return

    from smoothcse.bulk.encode_file import encode_file
    from smoothcse.encoders.load import load_encoder

    encode_file(
        load_encoder(model, pooling),
        texts,
        output,
        column=column,
        batch_size=batch_size,
        precision=precision,
        normalize=normalize,
        dimensions=dimensions,
        embedding_precision=embedding_precision,
        ranges=ranges,
        input_type=input_type,
        prompt_name=prompt_name,
        prompt=prompt,
    )
