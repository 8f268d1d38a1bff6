"""``smoothcse encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcse.cli.arguments import ModelArgument, PoolingOption


def encode(
    model: ModelArgument,
    texts: Annotated[
        Path, typer.Argument(help="A text file, one sentence a line (.gz, .zst), or - for standard input.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to: a .npy or .parquet file.")],
    pooling: PoolingOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sentences per forward.")] = 64,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale each embedding to length 1.")] = False,
) -> None:
    """Turn each line of a text into an embedding, at constant memory."""
    from smoothcse.bulk import encode_file
    from smoothcse.encoder import load_encoder
    from smoothcse.quiet import quiet_libraries

    quiet_libraries()
    encoder = load_encoder(model, pooling)  # type: ignore[arg-type]
    encode_file(encoder, texts, output, batch_size=batch_size, precision=precision, normalize=normalize)  # type: ignore[arg-type]
