"""Whatever is sent, the service answers: a sentence and a 4xx, never an error of its own, never silence."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from served import listening, until
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from tiny import sentences

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client", "lancedb"):
    pytest.importorskip(package, reason="needs the extra 'serve'")

import httpx  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from smoothcse.search import Document, Index  # noqa: E402
from smoothcse.service import Limits, Served, create_app, readings  # noqa: E402

LIMITS = Limits(body_bytes=100_000, upload_seconds=2.0)


@pytest.fixture(scope="module")
def address(tiny_bert, tmp_path_factory):
    documents = [Document(text, str(row), {"year": 2000 + row}) for row, text in enumerate(sentences(20))]
    path = tmp_path_factory.mktemp("hostile") / "docs.index"
    index = Index.build(path, tiny_bert, documents, console=Console(quiet=True))
    with listening(create_app([Served("first", index.model, index)], limits=LIMITS)) as url:
        yield url


def test_schemathesis_finds_no_fault(address, tmp_path):
    """Requests made from the service's own OpenAPI, right and wrong ones, by a tool that knows how services break."""
    schemathesis = Path(sys.executable).with_name("schemathesis")
    if not schemathesis.is_file():
        pytest.skip("needs the package schemathesis")
    command = [
        *(str(schemathesis), "run", f"{address}/openapi.json", "--phases", "examples,coverage,fuzzing"),
        *("--mode", "all", "--max-examples", "25", "--seed", "1", "--request-timeout", "20", "--no-color"),
        *("--checks", "not_a_server_error,response_schema_conformance,content_type_conformance"),
        *("--report", "ndjson", "--report-ndjson-path", str(tmp_path / "report.ndjson")),
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-1000:]
    assert (tmp_path / "report.ndjson").read_text().count("/similarity") > 25
    assert httpx.get(f"{address}/healthz").text == "ok"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/search", "/similarity", "/rerank", "/embed"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"\x00\xff\xfe" * 100, 400),
        (b'{"input": "cut off', 400),
        (b"[" * 50_000, 400),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
        (b"null", 422),
        (b'"text"', 422),
        (b'{"input": 1e400, "query": 1e400, "a": 1e400}', 422),
        (b" " * 200_000, 413),
    ],
    ids=["empty", "binary", "cut", "nested", "nested-objects", "null", "string", "infinite", "oversized"],
)
def test_every_body_gets_a_sentence(address, path, body, status):
    answer = httpx.post(f"{address}{path}", content=body, headers={"Content-Type": "application/json"}, timeout=20)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.status_code == status, answer.text
    message = answer.json()["error"]["message"]
    assert 10 < len(message) < 500


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", r'{"input": "\ud800"}'),
        ("/v1/embeddings", r'{"input": "x", "model": "\ud800"}'),
        ("/search", r'{"query": "\ud800"}'),
        ("/search", r'{"query": "x", "where": {"year": "\udfff"}}'),
        ("/search", r'{"query": "x", "where": {"\udfff": 1}}'),
        ("/similarity", r'{"a": ["\ud800"]}'),
        ("/similarity", r'{"inputs": {"source_sentence": "x", "sentences": ["\ud800"]}}'),
        ("/rerank", r'{"query": "\ud800", "documents": ["x"]}'),
        ("/rerank", r'{"query": "x", "texts": ["\ud800"]}'),
    ],
)
def test_half_a_character(address, path, body):
    answer = httpx.post(f"{address}{path}", content=body, headers={"Content-Type": "application/json"}, timeout=20)
    assert answer.status_code == 400, answer.text
    assert "half a character" in answer.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "application/x-www-form-urlencoded", None])
@pytest.mark.parametrize("body", [b'{"query": "x"}', b"\xff\x00", b'"\\ud800"'], ids=["json", "binary", "string"])
def test_a_body_of_another_type_is_told_the_right_one(address, kind, body):
    headers = {} if kind is None else {"Content-Type": kind}
    for path in ("/v1/embeddings", "/search", "/similarity", "/rerank", "/embed"):
        answer = httpx.post(f"{address}{path}", content=body, headers=headers, timeout=20)
        assert answer.status_code == 422, answer.text
        assert "Content-Type: application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize("depth", [100, 900, 2000, 5000])
def test_a_condition_nested_deeply(address, depth):
    body = '{"query": "x", "where": {"year": ' + "[" * depth + "]" * depth + "}}"
    answer = httpx.post(f"{address}/search", content=body, headers={"Content-Type": "application/json"}, timeout=20)
    assert 400 <= answer.status_code < 500, answer.text
    assert len(answer.json()["error"]["message"]) > 10


def test_a_body_without_a_length_is_counted_as_it_comes(address):
    chunks = (b" " * 10_000 for _ in range(1000))
    try:
        answer = httpx.post(f"{address}/search", content=chunks, timeout=20)
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        return  # it may hang up on one that does not stop sending
    assert answer.status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for(address):
    with connected(address) as slow:
        slow.sendall(b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")


SLOW = Limits(connections=24, requests=4, head_seconds=1.0, upload_seconds=1.0, download_seconds=1.0)


@pytest.fixture
def slow(tiny_bert):
    """Serve with limits that a test can reach."""
    with listening(create_app([Served("first", load_encoder(tiny_bert))], limits=SLOW), SLOW) as url:
        yield url


def connected(address, sent=b""):
    host, port = address.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), timeout=20)
    opened.sendall(sent)
    return opened


def read_to_end(opened):
    found = b""
    with suppress(ConnectionResetError):
        while piece := opened.recv(65536):
            found += piece
    return found


def said(answer, status):
    """Return the sentence of a raw answer of this status."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:300]
    assert b"content-type: application/json" in head.lower()
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type"}
    return error["message"]


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = HEALTH.replace(b"GET /healthz", b"POST /v1/embeddings")[:-2] + (
    b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)


@pytest.fixture(scope="module")
def crowded(tiny_bert):
    """Serve with room for few connections and the usual times, which no test waits for."""
    limits = Limits(connections=24, requests=12)
    with listening(create_app([Served("first", load_encoder(tiny_bert))], limits=limits), limits) as url:
        yield url


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX: ", HEALTH, BODY], ids=["idle", "head", "keep", "body"])
def test_clients_that_keep_the_service_waiting_shut_nobody_out(crowded, sent):
    held = [connected(crowded, sent) for _ in range(80)]
    try:
        for _ in range(3):
            assert httpx.get(f"{crowded}/healthz", timeout=20).text == "ok"
            assert httpx.post(f"{crowded}/v1/embeddings", json={"input": "a text"}, timeout=20).status_code == 200
    finally:
        for one in held:
            one.close()


def test_one_client_with_many_connections_does_not_end_those_of_another(crowded):
    port = int(crowded.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0), timeout=20) as other:
        held = [connected(crowded) for _ in range(80)]
        other.sendall(HEALTH)
        assert other.recv(1000).startswith(b"HTTP/1.1 200")
        for one in held:
            one.close()


@pytest.mark.parametrize(
    ("sent", "status", "sentence"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", 408, "headers did not arrive within 1 seconds"),
        (HEALTH + b"GET / HTTP/1.1\r\nX-Slow: ", 408, "headers did not arrive"),
        (BODY, 408, "body did not arrive within 1 seconds"),
        (b"GET /\x00\x01 \r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "not a valid HTTP/1.1 request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "transfer encoding"),
        (
            b"POST /search HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            400,
            "not a valid HTTP/1.1 request",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000, 431, "headers are larger"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n", 431, "headers are larger"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 500 + b"\r\n", 431, "more than 100"),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 404, "There is nothing"),
        (b"CONNECT example.com:443 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404, "There is nothing"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404, "There is nothing"),
        (b"GET /nowhere HTTP/1.0\r\n\r\n", 404, "There is nothing"),
    ],
)
def test_what_no_application_sees_has_the_shape_of_every_error(slow, sent, status, sentence):
    with connected(slow, sent) as opened:
        answer = read_to_end(opened)
    if sent.startswith(HEALTH):
        assert answer.startswith(b"HTTP/1.1 200")
        answer = answer[answer.index(b"HTTP/1.1 4") :]
    assert sentence in said(answer, status)


def test_an_upgrade_is_not_made(slow):
    headers = b"Host: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with connected(slow, b"GET /nowhere HTTP/1.1\r\n" + headers + key) as opened:
        assert opened.recv(1000).startswith(b"HTTP/1.1 404")


def test_pipelined_requests_get_their_answers_in_order(slow):
    missing = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
    with connected(slow, (HEALTH + missing) * 10) as opened:
        answer = read_to_end(opened)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404"] * 10


def test_a_half_closed_connection_is_given_back(slow):
    for sent in (b"", b"GET / HT", BODY):
        with connected(slow, sent) as opened:
            opened.shutdown(socket.SHUT_WR)
            read_to_end(opened)
    assert httpx.get(f"{slow}/healthz").text == "ok"


class Held:
    """Stands before the model until it is let go."""

    def __init__(self, monkeypatch):
        self.texts, self.go = [], threading.Event()
        monkeypatch.setattr(readings, "encode", self)

    def __call__(self, model, texts, **options):
        self.texts += texts
        assert self.go.wait(20)
        return encode(model, texts, **options)


@pytest.fixture
def held(monkeypatch):
    found = Held(monkeypatch)
    yield found
    found.go.set()


def asked(text):
    body = b'{"input": "%b"}' % text
    return BODY.replace(b"Length: 100", b"Length: %d" % len(body))[:-1] + body


def test_too_many_requests_are_refused_and_the_health_check_answers(slow, held):
    busy = [connected(slow, asked(b"a text")) for _ in range(SLOW.requests)]
    until(lambda: held.texts)
    until(lambda: httpx.post(f"{slow}/v1/embeddings", json={"input": "x"}, timeout=20).status_code == 503)
    with connected(slow, asked(b"one more").replace(b"Host", b"Connection: close\r\nHost", 1)) as opened:
        answer = read_to_end(opened)
    assert "requests are already being answered" in said(answer, 503)
    assert b"retry-after: 5" in answer
    assert httpx.get(f"{slow}/healthz").text == "ok"
    held.go.set()
    for one in busy:
        assert one.recv(1000).startswith(b"HTTP/1.1 200")
        one.close()


def test_a_request_whose_client_has_gone_is_not_worked_on(slow, held):
    with connected(slow, asked(b"first")):
        until(lambda: held.texts)
        connected(slow, asked(b"gone")).close()
        until(lambda: 'status="499"' in httpx.get(f"{slow}/metrics").text)
        held.go.set()
    assert httpx.post(f"{slow}/v1/embeddings", json={"input": "last"}, timeout=20).status_code == 200
    assert "gone" not in held.texts


def test_an_answer_that_is_not_taken_is_not_kept(slow):
    """The server keeps a piece of it at most, and ends the connection in time."""
    receive_little = socket.socket()
    receive_little.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    receive_little.settimeout(20)
    receive_little.connect(("127.0.0.1", int(slow.rpartition(":")[2])))
    with receive_little:
        receive_little.sendall(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n" * 8)
        until(lambda: _is_reset(receive_little))


def _is_reset(opened):
    try:
        opened.sendall(HEALTH)
    except ConnectionError:
        return True
    time.sleep(0.1)
    return False


def test_large_bodies_that_arrive_leave_room_for_small_ones(tiny_bert):
    limits = Limits(pending_bytes=150_000, upload_seconds=20.0)
    with listening(create_app([Served("first", load_encoder(tiny_bert))], limits=limits), limits) as url:
        answer = httpx.post(f"{url}/search", content=b" " * 400_000, timeout=20)
        assert answer.status_code == 503
        assert "Too many large bodies" in answer.json()["error"]["message"]
        assert httpx.post(f"{url}/v1/embeddings", json={"input": "a text"}, timeout=20).status_code == 200


@pytest.mark.parametrize("token", [None, "s3cret"])
def test_metrics_do_not_grow_with_what_clients_invent(tiny_bert, token):
    app = create_app([Served("first", load_encoder(tiny_bert))], token=token)
    with TestClient(app, raise_server_exceptions=False, headers={"Authorization": "Bearer s3cret"}) as client:

        def invent(number):
            name = f"M{number}"
            client.request(name, "/healthz")
            client.request(name, "/v1/embeddings", headers={"Authorization": name})
            client.request(name.lower(), f"/{name}", headers={"Host": name, "X-HTTP-Method-Override": name})
            client.get(f"/docs?{name}")
            client.post("/v1/embeddings", json={"input": name, "model": name})
            return len(client.get("/metrics").text.splitlines())

        first = [invent(number) for number in range(3)][-1]
        assert [invent(number) for number in range(3, 30)][-1] == first
