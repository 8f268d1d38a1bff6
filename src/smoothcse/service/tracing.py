"""OpenTelemetry traces of requests.

FastAPI makes the span of a request, and continues the trace of a client that sends the header ``traceparent``. The
spans of the service are its children: ``encode`` with the wait for the model and each forward pass, and ``search``.
Spans hold names, counts and times, never texts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from smoothcse import __version__
from smoothcse._utils.extras import extra
from smoothcse.errors import SmoothCSEError
from smoothcse.service.gate import ALWAYS_ANSWERED

with extra("tracing", "--trace"):
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import StatusCode, get_current_span

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.context import Context

    from smoothcse.service.batcher import Encoded

_MODEL, _TOKENS = "gen_ai.request.model", "gen_ai.usage.input_tokens"  # of the semantic conventions
_TEXTS, _BATCH_TEXTS = "smoothcse.texts", "smoothcse.batch_texts"
_QUERY = "url.query"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Tracing:
    """The traces of one service.

    Args:
        processor: Receiver of the spans.
    """

    def __init__(self, processor: SpanProcessor) -> None:
        own = Resource.create({"service.name": "smoothcse", "service.version": __version__})
        self._provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(_WithoutQuery())
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("smoothcse", __version__)

    @property
    def telemetry(self) -> TelemetryConfig:
        """Settings of FastAPI's instrumentation: one span per request, except for those of monitoring."""
        return {
            "tracer_provider": self._provider,
            "metrics": False,  # /metrics has them
            "logs": False,  # these contain messages of exceptions
            "operation_spans": False,
            "auto_configure": False,
            "exclude": lambda scope: scope["path"] in ALWAYS_ANSWERED,
        }

    @contextmanager
    def span(self, name: str, model: str) -> Iterator[None]:
        """Trace the block as a part of the current span.

        Args:
            name: Name of the span.
            model: Name of the model, which becomes an attribute of both spans.
        """
        get_current_span().set_attribute(_MODEL, model)
        with self._tracer.start_as_current_span(
            name, attributes={_MODEL: model}, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except Exception as error:  # without its message, which may quote the request
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(StatusCode.ERROR)
                raise

    def record(self, encoded: Encoded) -> None:
        """Add the wait and the forward passes of an answer to the current span."""
        texts = len(encoded.vectors)
        get_current_span().set_attributes({_TEXTS: texts, _TOKENS: encoded.tokens})
        self._past("wait", encoded.submitted, encoded.passes[0].started, {})
        for one in encoded.passes:
            counts = {_TEXTS: one.texts, _TOKENS: one.tokens, _BATCH_TEXTS: one.batch_texts}
            self._past("forward", one.started, one.ended, counts)

    def close(self) -> None:
        """Send the spans that have not been sent."""
        self._provider.shutdown()

    def _past(self, name: str, started: int, ended: int, attributes: dict[str, int]) -> None:
        self._tracer.start_span(name, start_time=started, attributes=attributes).end(ended)


class _WithoutQuery(SpanProcessor):
    """Hides the query of a URL, in which the page has the text of a search."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if _QUERY in (span.attributes or {}):
            span.set_attribute(_QUERY, "REDACTED")


def start_tracing() -> Tracing:
    """Send traces by OTLP over HTTP, as the standard variables ``OTEL_*`` set it.

    Raises:
        SmoothCSEError: If the endpoint is not an HTTP URL.
    """
    for variable in _ENDPOINTS:
        endpoint = os.environ.get(variable, "")
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise SmoothCSEError(
                f"{variable} is {endpoint!r}, which is not an HTTP URL; give one such as http://localhost:4318."
            )
    return Tracing(BatchSpanProcessor(OTLPSpanExporter()))
