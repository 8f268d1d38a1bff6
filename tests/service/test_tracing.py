"""Traces show where a request spends its time, continue those of clients, and hold no texts."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console

from smoothcse.errors import SmoothCSEError
from tiny import sentences

pytest.importorskip("lancedb", reason="needs the extra 'serve'")
pytest.importorskip("opentelemetry.sdk", reason="needs the extra 'tracing'")

from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from starlette.testclient import TestClient

from smoothcse.search import Document, Index
from smoothcse.service import Limits, Served, create_app
from smoothcse.service.server import serve_models
from smoothcse.service.tracing import Tracing, start_tracing

TEXTS = sentences(12)
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def index(tiny_bert, tmp_path_factory):
    documents = [Document(text, str(row)) for row, text in enumerate(TEXTS)]
    path = tmp_path_factory.mktemp("traced") / "docs.index"
    return Index.build(path, tiny_bert, documents, console=Console(quiet=True))


@pytest.fixture(scope="module")
def exporter():
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
def client(index, exporter):
    tracing = Tracing(SimpleSpanProcessor(exporter))
    app = create_app([Served("first", index.model, index)], tracing=tracing, batch_texts=4, limits=Limits(texts=100))
    with TestClient(app) as found:
        yield found


@pytest.fixture
def spans(exporter):
    """Return the spans of the test so far, in the order in which they began."""
    exporter.clear()
    return lambda: sorted(exporter.get_finished_spans(), key=lambda span: span.start_time)


def named(spans, name):
    [found] = [span for span in spans if span.name == name]
    return found


def test_a_request_is_split_into_its_wait_and_the_forward_passes(client, spans):
    answer = client.post("/v1/embeddings", json={"input": TEXTS[:6]}).json()
    found = spans()
    request, encode, wait = (named(found, name) for name in ("POST /v1/embeddings", "encode", "wait"))
    passes = [span for span in found if span.name == "forward"]
    assert request.kind is SpanKind.SERVER
    assert request.parent is None
    assert encode.parent.span_id == request.context.span_id
    assert {span.parent.span_id for span in (wait, *passes)} == {encode.context.span_id}
    assert {span.context.trace_id for span in found} == {request.context.trace_id}
    assert request.attributes["http.route"] == "/v1/embeddings"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["gen_ai.request.model"] == encode.attributes["gen_ai.request.model"] == "first"
    assert encode.attributes["smoothcse.texts"] == 6
    assert encode.attributes["gen_ai.usage.input_tokens"] == answer["usage"]["prompt_tokens"]
    assert [span.attributes["smoothcse.texts"] for span in passes] == [4, 2]
    assert [span.attributes["smoothcse.batch_texts"] for span in passes] == [4, 2]
    assert sum(span.attributes["gen_ai.usage.input_tokens"] for span in passes) == answer["usage"]["prompt_tokens"]
    times = [encode.start_time, wait.start_time, wait.end_time, *(span.end_time for span in passes), encode.end_time]
    assert times == sorted(times)
    assert wait.end_time == passes[0].start_time < passes[0].end_time <= passes[1].start_time < passes[1].end_time
    assert request.resource.attributes["service.name"] == "smoothcse"


def test_the_trace_of_a_client_is_continued(client, spans):
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    assert client.post("/search", json={"query": "a cat", "k": 2, "rerank": "maxsim"}, headers=headers).is_success
    found = spans()
    request = named(found, "POST /search")
    assert f"{request.parent.span_id:016x}" == PARENT
    assert {f"{span.context.trace_id:032x}" for span in found} == {TRACE}
    children = [span.name for span in found if span.parent.span_id == request.context.span_id]
    assert children == ["encode", "search", "encode"]  # of the query, and of the documents that are reranked


def test_a_request_that_the_client_does_not_sample(client, spans):
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-00"}
    assert client.post("/v1/embeddings", json={"input": "a text"}, headers=headers).is_success
    assert spans() == []


def test_no_texts_are_in_spans(client, spans):
    client.get("/", params={"q": "secret words"})
    client.get("/neighbours", params={"id": "secret words"})
    client.post("/search", json={"query": "secret words"}, headers={"Authorization": "Bearer secret"})
    client.post("/v1/embeddings", json={"input": "secret words", "prompt_name": "secret"})
    client.post("/v1/embeddings", json={"input": ["secret words"] * 101})
    client.post("/v1/embeddings", json={"input": "a", "model": "secret"})
    written = [span.to_json() for span in spans()]
    assert sum('"kind": "SpanKind.SERVER"' in one for one in written) == 6
    assert not [one for one in written if "secret" in one]


def test_a_refusal_is_an_error_of_its_span(client, spans):
    client.get("/neighbours", params={"id": "nowhere"})
    search, request = named(spans(), "search"), named(spans(), "GET /neighbours")
    assert search.attributes["error.type"] == "SmoothCSEError"
    assert not search.status.is_ok
    assert not search.events
    assert request.attributes["http.response.status_code"] == 404


def test_health_checks_and_metrics_are_not_traced(client, spans):
    for path in ("/healthz", "/health", "/metrics"):
        assert client.get(path).is_success
    assert spans() == []


def test_nothing_is_traced_or_imported_without_the_switch(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "smoothcse.service.tracing", None)  # its import would fail
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    app = create_app([Served("first", index.model)])
    with TestClient(app) as client:
        assert client.post("/v1/embeddings", json={"input": "a text"}).is_success
    assert not app._native_telemetry.enabled()


def test_the_environment_names_the_service(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter))
    with tracing.span("encode", "first"):
        pass
    assert exporter.get_finished_spans()[0].resource.attributes["service.name"] == "mine"


class Collector(HTTPServer):
    """Keeps what is sent to it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Collecting)
        self.received = []


class Collecting(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_traces_are_sent_before_the_service_has_stopped(index, monkeypatch):
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        with TestClient(create_app([Served("first", index.model)], tracing=start_tracing())) as client:
            assert client.post("/v1/embeddings", json={"input": "a text"}).is_success
        collector.shutdown()
    [(path, body)] = collector.received
    assert path == "/v1/traces"
    assert all(name in body for name in (b"smoothcse", b"POST /v1/embeddings", b"encode", b"wait", b"forward"))


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_an_endpoint_that_is_not_http(monkeypatch, variable):
    monkeypatch.setenv(variable, "collector:4317")
    with pytest.raises(SmoothCSEError, match=f"^{variable} is 'collector:4317', which is not an HTTP URL"):
        start_tracing()


def test_the_missing_extra_is_named(tiny_bert, monkeypatch):
    monkeypatch.delitem(sys.modules, "smoothcse.service.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SmoothCSEError, match=r"^--trace: .*pip install -c constraints.txt \"\.\[tracing\]\"$"):
        serve_models([tiny_bert], port=0, trace=True)
