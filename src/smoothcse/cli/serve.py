"""``smoothcse serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcse._utils.choices import Rerank, TokenIdsOf
from smoothcse._utils.defaults import BATCH_TEXTS
from smoothcse.cli.arguments import BackendOption, PrecisionOption, poolings
from smoothcse.errors import SmoothCSEError

_NETWORK = "Network"

_OF_HTTP = (
    "reranker",
    "token_ids",
    "batch_texts",
    "batches",
    "trace",
    "host",
    "port",
    "token",
    "allow_origin",
    "without_token",
)
"""Parameters that a server on standard input and output does not have."""


def serve(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="Output folder of `smoothcse adapt`, with its index; run folder, model folder or Hub name. Give two "
            "to compare them.",
            show_default=False,
        ),
    ],
    index: Annotated[
        list[Path] | None,
        typer.Option(
            help="Index built with one of the models; repeat the option for the other. [that of `smoothcse adapt`]",
            show_default=False,
        ),
    ] = None,
    pooling: Annotated[
        list[str] | None,
        typer.Option(
            help="Pooling to use instead of the model's own (cls, mean, max, ...); give it once per model.",
            show_default=False,
        ),
    ] = None,
    cosine_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Weight of the cosine similarity in a search; BM25 has the rest. 1 is meaning alone, 0 words alone. "
            "[the model's, else 0.7]",
            show_default=False,
        ),
    ] = None,
    rerank: Annotated[
        Rerank | None,
        typer.Option(
            help="maxsim compares the first 50 documents of a search, and texts to rerank, with the query token by "
            "token, which takes longer. [the model's, else none]",
            show_default=False,
        ),
    ] = None,
    backend: BackendOption = None,
    reranker: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Cross-encoder for the endpoints that rerank: model folder or Hub name. [the encoder itself]",
            show_default=False,
        ),
    ] = None,
    token_ids: Annotated[
        TokenIdsOf,
        typer.Option(
            help="Tokenizer of the token ids in requests of OpenAI's API: that of OpenAI's embedding models, or the "
            "model's own."
        ),
    ] = "cl100k_base",
    precision: PrecisionOption = "auto",
    mcp: Annotated[
        bool,
        typer.Option(
            "--mcp",
            help="Serve the index to agents over the Model Context Protocol, on standard input and output instead of "
            "HTTP.",
        ),
    ] = False,
    batch_texts: Annotated[
        int, typer.Option(min=1, help="Maximum texts of different requests per batch; 1 encodes each text alone.")
    ] = BATCH_TEXTS,
    batches: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder for OpenAI's batches, many requests in one file that are answered in the background; needs a "
            "token.",
            show_default=False,
        ),
    ] = None,
    trace: Annotated[
        bool,
        typer.Option(
            "--trace",
            help="Send OpenTelemetry traces of the requests, without texts, to OTEL_EXPORTER_OTLP_ENDPOINT (default "
            "http://localhost:4318).",
        ),
    ] = False,
    host: Annotated[
        str, typer.Option(rich_help_panel=_NETWORK, help="Address to listen on; 0.0.0.0 for all interfaces.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, rich_help_panel=_NETWORK, help="Port to listen on; 0 for a free one.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="SMOOTHCSE_TOKEN",
            rich_help_panel=_NETWORK,
            help="Bearer token that requests must send. Prefer the variable: other users can see your command line.",
            show_default=False,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            rich_help_panel=_NETWORK,
            help="Origin of web pages that may use the service, such as https://example.org; repeat it for several. "
            "'*' allows all, and needs a token.",
            show_default=False,
        ),
    ] = None,
    without_token: Annotated[
        bool,
        typer.Option(
            "--without-token",
            rich_help_panel=_NETWORK,
            help="Allow an address that other machines can reach without authentication.",
        ),
    ] = False,
) -> None:
    """Serve embeddings, similarities, reranking and search over HTTP, with a web page to try them.

    Clients of OpenAI, Cohere, Jina and text-embeddings-inference work unchanged; `/docs` documents all endpoints.
    SIGTERM stops the service after it has answered the requests in progress. With `--mcp`, agents search the index
    instead.

    Example: `smoothcse serve my-encoder --index documents.index`
    """
    from smoothcse._utils.quiet import quiet_libraries

    quiet_libraries()
    indexes = index or ([] if pooling else _own_indexes(models))
    if mcp:
        _refuse_http_options(context)
        from smoothcse.service.mcp_server import serve_mcp

        return serve_mcp(
            models,
            indexes,
            poolings(pooling),
            cosine_weight=cosine_weight,
            rerank=rerank,
            backend=backend,
            precision=precision,
        )
    from smoothcse.service.server import serve_models

    serve_models(
        models,
        indexes,
        poolings(pooling),
        cosine_weight=cosine_weight,
        rerank=rerank,
        backend=backend,
        host=host,
        port=port,
        token=token,
        without_token=without_token,
        batch_texts=batch_texts,
        precision=precision,
        reranker=reranker,
        token_ids=token_ids,
        origins=allow_origin or [],
        batches=batches,
        trace=trace,
    )


def _own_indexes(models: list[str]) -> list[Path]:
    """Return the indexes that adaptations among the models have built."""
    from smoothcse.search.index_places import own_index

    return [path for model in models if (path := own_index(Path(model)))]


def _refuse_http_options(context: typer.Context) -> None:
    for name in _OF_HTTP:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = name.replace("_", "-")
            raise SmoothCSEError(f"--mcp uses standard input and output instead of HTTP; leave out --{option}.")
