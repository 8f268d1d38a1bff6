"""``smoothcse similarity``."""

from __future__ import annotations

from typing import Annotated

import typer

from smoothcse.cli.arguments import ModelArgument, PoolingOption


def similarity(
    model: ModelArgument,
    first: Annotated[str, typer.Argument(help="First sentence.", show_default=False)],
    second: Annotated[str, typer.Argument(help="Second sentence.", show_default=False)],
    pooling: PoolingOption = None,
) -> None:
    """Print the cosine similarity of two sentences.

    Example: `smoothcse similarity my-encoder "A cat sleeps." "A kitten naps."`
    """
    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.encoders.inference import encode
    from smoothcse.encoders.load import load_encoder

    quiet_libraries()
    a, b = encode(load_encoder(model, pooling), [first, second], normalize=True)
    typer.echo(f"{float(a @ b):.4f}")
