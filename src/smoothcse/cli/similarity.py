"""``smoothcse similarity``."""

from __future__ import annotations

from typing import Annotated

import typer

from smoothcse.cli.arguments import ModelArgument, PoolingOption


def similarity(
    model: ModelArgument,
    first: Annotated[str, typer.Argument(help="A sentence.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    pooling: PoolingOption = None,
) -> None:
    """Print the cosine similarity of two sentences."""
    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.encoders.inference import encode
    from smoothcse.encoders.load import load_encoder

    quiet_libraries()
    a, b = encode(load_encoder(model, pooling), [first, second], normalize=True)  # type: ignore[arg-type]
    typer.echo(f"{float(a @ b):.4f}")
