"""The HTTP application, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from smoothcse import __version__
from smoothcse.service.error_answers import tell_errors
from smoothcse.service.gate import LOOPBACK_NAMES, Gate
from smoothcse.service.limits import Limits
from smoothcse.service.metrics import Counted, Metrics
from smoothcse.service.openai_routes import router as openai
from smoothcse.service.schemas import ErrorAnswer
from smoothcse.service.search_routes import router as documents
from smoothcse.service.served import Encoders, Served
from smoothcse.service.static_files import add_documentation, add_page

BATCH_TEXTS = 64

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in {
        400: "Not JSON, or a value that cannot be used",
        401: "No token, or a wrong one",
        404: "No such model, index or document",
        408: "The body took too long",
        413: "Too large",
        421: "Addressed to another host",
        422: "A field is missing, unknown or of the wrong type",
        429: "Too many texts wait; try again",
        431: "Headers that are too large, or too many",
        503: "Too many requests, or the model was busy for too long; try again",
    }.items()
}


def create_app(
    served: Sequence[Served],
    *,
    limits: Limits | None = None,
    token: str | None = None,
    batch_texts: int = BATCH_TEXTS,
    local: bool = False,
) -> FastAPI:
    """Make the application.

    Args:
        served: at least one encoder; the first is the default.
        limits: of requests; None for the defaults of :class:`Limits`.
        token: that requests must bear; None to ask for none.
        batch_texts: of different requests that are encoded together at most. Default 64; 1 to encode each text alone.
        local: whether to answer only requests that are addressed to this machine as such (localhost, 127.0.0.1).

    Returns:
        An ASGI application; its encoders' threads end with its lifespan.
    """
    limits = limits or Limits()
    metrics = Metrics()
    encoders = Encoders(served, limits, batch_texts, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await encoders.close()

    app = FastAPI(
        title="smoothcse", version=__version__, lifespan=lifespan, responses=_ERRORS, docs_url=None, redoc_url=None
    )
    app.state.encoders = encoders
    shown = [Depends(HTTPBearer(auto_error=False))] if token else []  # for the documentation; the gate checks it
    for router in (openai, documents):
        app.include_router(router, dependencies=shown)
    _add_operations(app, metrics)
    open_paths = {"/healthz", *add_documentation(app), *add_page(app)}
    tell_errors(app)
    hosts = LOOPBACK_NAMES if local else None
    app.add_middleware(Gate, limits=limits, token=token, open_paths=open_paths, hosts=hosts)
    app.add_middleware(Counted, metrics=metrics)  # the last one added is the first to see a request
    return app


def _add_operations(app: FastAPI, metrics: Metrics) -> None:
    """Add what those ask who keep the service running."""

    @app.get("/healthz", response_class=PlainTextResponse, tags=["operation"])
    async def healthz() -> str:
        """Say that the service is up."""
        return "ok"

    @app.get("/metrics", response_class=PlainTextResponse, tags=["operation"])
    def metrics_(request: Request) -> Response:
        """Tell Prometheus about requests, batches, queues and memory."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
