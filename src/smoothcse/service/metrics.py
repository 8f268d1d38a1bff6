"""What Prometheus is told: requests, their time, batches, queues, and the process's memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from smoothcse.service.batcher import Batcher

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_CLIENT_HAS_GONE = 499  # as nginx has it
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one service.

    Attributes:
        registry: of all of them.
        batch_texts: texts per batch, by model; its sum is all texts, its count all batches.
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
        """Show how many texts wait for a model."""
        self._waiting.labels(name).set_function(lambda: batcher.waiting)

    def count(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count a request.

        Each combination of labels costs memory for good, so clients may not invent any.

        Args:
            path: Path of a route, as it is declared; "other" where there is none.
            method: Any method; unknown ones are counted as "other".
            status: Status of the answer.
            seconds: Time to the answer.
        """
        self._requests.labels(path, method if method in _METHODS else "other", status).inc()
        self._seconds.labels(path).observe(seconds)


class Counted:
    """ASGI middleware that counts requests and their time.

    Args:
        app: behind it.
        metrics: told about each request.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a request and hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), _CLIENT_HAS_GONE

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
