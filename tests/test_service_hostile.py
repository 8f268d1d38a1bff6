"""Whatever is sent, the service answers: a sentence and a 4xx, never an error of its own, never silence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from served import listening
from tiny import sentences

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client", "lancedb"):
    pytest.importorskip(package, reason="needs the extra 'serve'")

import httpx  # noqa: E402

from smoothcse.search import Document, Index  # noqa: E402
from smoothcse.service import Limits, Served, create_app  # noqa: E402

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


@pytest.mark.parametrize("path", ["/v1/embeddings", "/search", "/similarity"])
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
    for path in ("/v1/embeddings", "/search", "/similarity"):
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
    import socket

    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as slow:
        slow.sendall(b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")
