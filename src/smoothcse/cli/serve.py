"""``smoothcse serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    models: Annotated[
        list[str],
        typer.Argument(help="A run folder, a model folder or a hub name; two to compare them.", show_default=False),
    ],
    index: Annotated[
        list[Path] | None, typer.Option(help="Index made by a model; repeat it for the other's.", show_default=False)
    ] = None,
    pooling: Annotated[
        list[str] | None,
        typer.Option(help="Read a model by cls, mean, ... instead; once for each model.", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all of them.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SMOOTHCSE_TOKEN",
            help="Bearer token that requests must carry. Set the variable: others can see your command line.",
            show_default=False,
        ),
    ] = None,
    without_token: Annotated[
        bool, typer.Option("--without-token", help="Let everybody in who can reach the address.")
    ] = False,
    batch_texts: Annotated[
        int, typer.Option(min=1, help="Texts of different requests encoded together; 1 for each alone.")
    ] = 64,
    precision: Annotated[
        str, typer.Option(help="fp32, bf16, or auto: bf16 where the hardware has it, which is then said.")
    ] = "auto",
) -> None:
    """Serve embeddings, similarities and search over HTTP, with a page to try them.

    `/v1/embeddings` is OpenAI's; `/docs` documents the rest. On SIGTERM the requests under way are answered first.
    """
    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.service.server import serve_models

    quiet_libraries()
    serve_models(
        models,
        index or [],
        pooling or [],  # type: ignore[arg-type]
        host=host,
        port=port,
        token=token,
        without_token=without_token,
        batch_texts=batch_texts,
        precision=precision,  # type: ignore[arg-type]
    )
