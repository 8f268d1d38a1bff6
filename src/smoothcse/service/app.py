"""Assembly of the HTTP application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from smoothcse import __version__
from smoothcse._utils.choices import TokenIdsOf
from smoothcse._utils.defaults import BATCH_TEXTS
from smoothcse.service.batch_routes import router as batch_routes
from smoothcse.service.batch_runner import BatchRunner
from smoothcse.service.batch_store import BatchStore
from smoothcse.service.cross_origin import allow_origins
from smoothcse.service.document_routes import router as document_routes
from smoothcse.service.error_answers import add_error_handlers
from smoothcse.service.gate import Gate
from smoothcse.service.limits import Limits
from smoothcse.service.openai_routes import answer_embeddings
from smoothcse.service.openai_routes import router as openai_routes
from smoothcse.service.openai_schemas import EmbeddingRequest
from smoothcse.service.prometheus import RequestCounter, ServiceMetrics
from smoothcse.service.queues import Encoders
from smoothcse.service.rerank_routes import router as rerank_routes
from smoothcse.service.schemas import ErrorAnswer
from smoothcse.service.search_routes import router as search_routes
from smoothcse.service.served import Reranker, Served
from smoothcse.service.similarity_routes import router as similarity_routes
from smoothcse.service.static_files import add_documentation, add_page
from smoothcse.service.tei_routes import router as tei_routes

if TYPE_CHECKING:
    from smoothcse.service.tracing import Tracing

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in {
        400: "Invalid JSON, or an invalid value",
        401: "Missing or wrong token",
        403: "The service requires no token, so that an index cannot be changed",
        404: "Unknown model, index or document",
        408: "The body took too long to arrive",
        413: "Too large",
        415: "The body is compressed in another way than gzip",
        421: "Addressed to another host",
        422: "A field is missing, unknown or of the wrong type",
        429: "Too many waiting texts; try again",
        431: "Headers are too large or too many",
        503: "Too many requests, or the model was busy for too long; try again",
    }.items()
}

_ROUTERS = (
    openai_routes,
    batch_routes,
    search_routes,
    similarity_routes,
    rerank_routes,
    document_routes,
    tei_routes,
)


def create_app(
    served: Sequence[Served],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    batch_texts: int = BATCH_TEXTS,
    local: bool = False,
    reranker: Reranker | None = None,
    token_ids: TokenIdsOf = "cl100k_base",
    origins: Sequence[str] = (),
    during: AbstractContextManager[None] | None = None,
    batches: Path | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """Create the application.

    Args:
        served: At least one encoder; the first is the default.
        limits: Limits on requests. Default: those of :class:`Limits`.
        token: Bearer token that requests must send, or None for no authentication.
        batch_texts: Maximum texts of different requests per batch; 1 encodes each text alone. Default 128.
        local: Whether to accept only requests addressed to this machine by a loopback name (localhost, 127.0.0.1).
        reranker: Cross-encoder for the endpoints that rerank.
        token_ids: Tokenizer of the token ids in requests of OpenAI's API, see
            :mod:`smoothcse.service.openai_tokens`.
        origins: Origins of web pages that may use the service, see :mod:`smoothcse.service.cross_origin`.
        during: Context that is entered when the application starts, and left when it has stopped.
        batches: Existing folder for uploaded files and batches, which belongs to this application alone; None for no
            batches.
        tracing: Traces of requests, which are sent completely when the application has stopped; None for none.

    Returns:
        An ASGI application; the threads of its encoders end with its lifespan.
    """
    limits = limits or Limits()
    metrics = ServiceMetrics()
    encoders = Encoders(served, limits, batch_texts, metrics, reranker, token_ids, tracing)
    runner = _batch_runner(batches, encoders, limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with during or nullcontext():
            async with runner.running() if runner else nullcontext():
                yield
            await encoders.close()

    app = FastAPI(
        title="smoothcse",
        version=__version__,
        lifespan=lifespan,
        responses=_ERRORS,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False} if tracing is None else tracing.telemetry,
    )
    app.state.encoders = encoders
    app.state.authenticated = token is not None
    app.state.batches = runner
    shown = [Depends(HTTPBearer(auto_error=False))] if token else []  # for the documentation; the gate checks tokens
    for router in _ROUTERS:
        app.include_router(router, dependencies=shown)
    _add_operations(app, metrics)
    open_paths = {"/healthz", "/health", *add_documentation(app), *add_page(app)}
    add_error_handlers(app)
    app.add_middleware(
        Gate, limits=limits, token=token, open_paths=open_paths, local=local, uploads=runner is not None
    )
    allow_origins(app, origins)
    app.add_middleware(RequestCounter, metrics=metrics)  # the middleware added last sees a request first
    return app


def _batch_runner(folder: Path | None, encoders: Encoders, limits: Limits) -> BatchRunner | None:
    """Return what answers the batches in a folder, or None without one."""

    async def answer(body: Any) -> bytes:
        return await answer_embeddings(EmbeddingRequest.model_validate(body), encoders)

    return None if folder is None else BatchRunner(BatchStore(folder, limits), answer, limits)


def _add_operations(app: FastAPI, metrics: ServiceMetrics) -> None:
    """Add the endpoints for monitoring."""

    @app.get("/healthz", response_class=PlainTextResponse, tags=["operation"])
    async def healthz() -> str:
        """Report that the service is running."""
        return "ok"

    @app.get("/metrics", response_class=PlainTextResponse, tags=["operation"])
    def metrics_(request: Request) -> Response:
        """Return metrics of requests, batches, queues and memory for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
