"""Start of the service: load models and indexes, bind the port, and serve."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from smoothcse._utils.atomic import explain_unwritable
from smoothcse._utils.choices import Backend, PoolingName, Precision, Rerank, TokenIdsOf
from smoothcse._utils.defaults import BATCH_TEXTS
from smoothcse._utils.folder_lock import lock_folder
from smoothcse.encoders.precision import check_precision, precision_notice, resolve_precision
from smoothcse.errors import SmoothCSEError
from smoothcse.service.cross_origin import check_origins
from smoothcse.service.loopback import is_loopback

if TYPE_CHECKING:
    from smoothcse.service.served import Reranker, Served
    from smoothcse.service.tracing import Tracing

_DRAIN_SECONDS = 60

_KERNELS_KEPT = "64"
"""Maximum number of cached oneDNN kernels. oneDNN, which torch uses on a CPU, caches one kernel and its memory per
shape, 1,024 by default. As batches differ in shape, 24 batches of 64 sentences leave 140 MB more with the default, and
78 MB with 64."""


def serve_models(
    models: Sequence[str],
    indexes: Sequence[Path] = (),
    poolings: Sequence[PoolingName] = (),
    *,
    cosine_weight: float | None = None,
    rerank: Rerank | None = None,
    backend: Backend | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    without_token: bool = False,
    batch_texts: int = BATCH_TEXTS,
    precision: Precision = "auto",
    reranker: str | None = None,
    token_ids: TokenIdsOf = "cl100k_base",
    origins: Sequence[str] = (),
    batches: Path | None = None,
    trace: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; requests in progress are answered before the service stops.

    Args:
        models: One or two models, see :func:`smoothcse.service.served.load_served`.
        indexes: Indexes, each built with one of the models.
        poolings: One pooling per model, to use instead of its own.
        cosine_weight: Default weight of the cosine similarity in a search. Default: that of each index.
        rerank: Default second stage of a search. Default: that of each index.
        backend: Runtime of the models, see :func:`smoothcse.service.served.load_served`.
        host: Address to listen on.
        port: Port to listen on; 0 for a free one.
        token: Bearer token that requests must send.
        without_token: Whether to allow an address that other machines can reach without authentication.
        batch_texts: Maximum texts of different requests per batch.
        precision: Arithmetic of the models, see :func:`~smoothcse.encoders.inference.encode`; the choice is printed.
        reranker: Cross-encoder for the endpoints that rerank: a model folder or Hub name.
        token_ids: Tokenizer of the token ids in requests of OpenAI's API, see
            :mod:`smoothcse.service.openai_tokens`.
        origins: Origins of web pages that may use the service, see :mod:`smoothcse.service.cross_origin`.
        batches: Folder for uploaded files and batches, which is created; None for no batches.
        trace: Whether to send traces of requests, see :mod:`smoothcse.service.tracing`.

    Raises:
        SmoothCSEError: If a model, an index or an origin cannot be used, the port is taken, authentication is
            missing, or traces cannot be sent.
    """
    check_precision(precision, "encode")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS_KEPT)
    local = is_loopback(host)
    _check_token(token, needed=not local and not without_token)
    check_origins(origins, authenticated=token is not None)
    if batches is not None and token is None:
        raise SmoothCSEError("--batches stores what clients upload and needs a token; set SMOOTHCSE_TOKEN.")
    tracing = _tracing() if trace else None
    bound = _bind(host, port)  # before anything is loaded, so that a port in use is reported at once
    from smoothcse.search.running_service import announced
    from smoothcse.service import Limits, create_app
    from smoothcse.service.connection import make_server
    from smoothcse.service.cross_encoder import load_reranker
    from smoothcse.service.served import load_served

    loaded = load_served(models, indexes, poolings, cosine_weight, rerank, backend)
    served = [_in_precision(one, precision) for one in loaded]
    cross_encoder = None if reranker is None else load_reranker(reranker, [one.name for one in served])
    _warm_up(served, cross_encoder)
    limits = Limits()
    app = create_app(
        served,
        limits=limits,
        token=token,
        batch_texts=batch_texts,
        local=local and token is None,
        reranker=cross_encoder,
        token_ids=token_ids,
        origins=origins,
        batches=batches,
        tracing=tracing,
        during=announced(_searchable(served), bound.getsockname()),
    )
    console = Console(stderr=True, highlight=False)
    console.print(precision_notice(precision, resolve_precision(precision, "encode", served[0].model.device.type)))
    names = " and ".join(
        one.name if one.index is None else f"{one.name}, {len(one.index):,} documents" for one in served
    )
    if cross_encoder is not None:
        names += f" with the reranker {cross_encoder.name}"
    console.print(f"Serving {names}, at {_url(bound)} (API: /docs). Ctrl-C stops it.", soft_wrap=True, markup=False)
    for one in served:
        for sentence in () if one.index is None else (one.index.incomplete, one.index.without_words):
            if sentence:
                console.print(f"Warning: {sentence}", soft_wrap=True, markup=False)
    if any(one.index is not None and (rerank or one.index.rerank) == "maxsim" for one in served):
        console.print("Searches are reranked by MaxSim; --rerank none leaves this out and is faster.", soft_wrap=True)
    with _held(batches):
        make_server(app, limits, timeout_graceful_shutdown=_DRAIN_SECONDS).run([bound])


def _searchable(served: Sequence[Served]) -> dict[Path, str]:
    """Return the name of the model of each index that the service searches as ``smoothcse search`` does."""
    return {
        one.index.path: one.name
        for one in served
        if one.index is not None
        and one.cosine_weight is None
        and one.rerank is None
        and one.index.without_words is None
    }


@contextmanager
def _held(batches: Path | None) -> Iterator[None]:
    """Create the folder of the batches, and keep other services out of it."""
    if batches is None:
        yield
        return
    with explain_unwritable(batches):
        batches.mkdir(parents=True, exist_ok=True)
    with lock_folder(batches, remedy="stop that service, or give another --batches"):
        yield


def _tracing() -> Tracing:
    from smoothcse.service.tracing import start_tracing  # not without --trace: it needs an extra

    return start_tracing()


def _check_token(token: str | None, *, needed: bool) -> None:
    if token is None and needed:
        raise SmoothCSEError(
            "Refusing to bind to a non-loopback address without authentication. Set SMOOTHCSE_TOKEN, or pass "
            "--without-token."
        )
    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
        raise SmoothCSEError("The token must consist of printable ASCII characters, without spaces around it.")


def _bind(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet, so that early clients are refused instead of left waiting."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm, which delays an answer by 40 ms, only for sockets that declare TCP
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise SmoothCSEError(
            f"Cannot listen on {host}:{port} ({error.strerror}); give another --port or --host."
        ) from error
    return bound


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _in_precision(one: Served, precision: Precision) -> Served:
    """Return an entry whose model computes in a precision, with weights copied once instead of per request."""
    from smoothcse.encoders.inference import in_precision

    return replace(one, model=in_precision(one.model, precision))


def _warm_up(served: Sequence[Served], reranker: Reranker | None) -> None:
    """Use each model once, so that the first request is not slow and a broken model is reported now."""
    from smoothcse.encoders.inference import encode
    from smoothcse.service.cross_encoder import Logits

    for one in served:
        encode(one.model, ["a first sentence"])
    if reranker is not None:
        Logits("a query").rows(reranker.model, ["a first sentence"])
