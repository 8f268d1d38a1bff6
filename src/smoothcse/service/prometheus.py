"""Metrics for Prometheus: requests, latency, batches, queues, and process memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from smoothcse.service.batcher import Batcher

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_CLIENT_DISCONNECTED = 499  # nginx's status for this
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServiceMetrics:
    """The metrics of one service.

    Attributes:
        registry: Registry of all metrics.
        batch_texts: Texts per batch, by model; the sum is the number of texts, the count the number of batches.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.batch_texts = Histogram(
            "smoothcse_batch_texts", "Texts encoded together.", ["model"], buckets=_TEXTS, registry=self.registry
        )
        self._requests = Counter(
            "smoothcse_requests", "Requests answered.", ["path", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "smoothcse_request_seconds", "Time to an answer.", ["path"], buckets=_SECONDS, registry=self.registry
        )
        self._waiting = Gauge("smoothcse_waiting_texts", "Texts not answered yet.", ["model"], registry=self.registry)
        ProcessCollector(registry=self.registry)

    def watch_queue(self, name: str, batcher: Batcher) -> None:
        """Report the number of texts that wait for a model.

        Args:
            name: Name of the model.
            batcher: Queue of the model.
        """
        self._waiting.labels(name).set_function(lambda: batcher.waiting)

    def count(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count a request.

        Each combination of labels uses memory permanently, so clients must not be able to create new ones.

        Args:
            path: Declared path of the route, or "other" for none.
            method: Any method; unknown methods count as "other".
            status: Status of the answer.
            seconds: Time to the answer, in seconds.
        """
        self._requests.labels(path, method if method in _METHODS else "other", status).inc()
        self._seconds.labels(path).observe(seconds)


class RequestCounter:
    """ASGI middleware that counts requests and measures their time.

    Args:
        app: Application behind the middleware.
        metrics: Metrics that record each request.
    """

    def __init__(self, app: ASGIApp, metrics: ServiceMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), _CLIENT_DISCONNECTED

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception:
            status = 500
            raise
        finally:
            route = scope.get("route")
            method = scope["method"] if route else "other"
            self.metrics.count(getattr(route, "path", "other"), method, status, time.perf_counter() - started)
