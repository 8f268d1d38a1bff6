"""Compressed bodies, and web pages of other origins."""

from __future__ import annotations

import gzip
import json

import pytest

from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client"):
    pytest.importorskip(package, reason="needs the extra 'serve'")

from starlette.testclient import TestClient  # noqa: E402

from smoothcse.service import Limits, Served, create_app  # noqa: E402
from smoothcse.service.cross_origin import check_origins  # noqa: E402

ORIGIN = "http://localhost:3000"
BODY = json.dumps({"input": ["a text", "another one"]}).encode()
RIGHT = {"Authorization": "Bearer s3cret", "Content-Type": "application/json"}


@pytest.fixture(scope="module")
def client(tiny_bert):
    app = create_app(
        [Served("first", load_encoder(tiny_bert))],
        limits=Limits(body_bytes=100_000),
        token="s3cret",
        origins=[ORIGIN],
    )
    with TestClient(app) as found:
        yield found


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "identity"])
def test_a_body_may_be_compressed(client, encoding):
    body = BODY if encoding == "identity" else gzip.compress(BODY)
    answer = client.post("/v1/embeddings", content=body, headers={**RIGHT, "Content-Encoding": encoding})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == 2


def test_compressed_requests_are_counted_by_their_endpoint(client):
    sample = 'smoothcse_requests_total{method="POST",path="/v1/embeddings",status="200"} '

    def count():
        text = client.get("/metrics", headers=RIGHT).text
        return sum(float(line.removeprefix(sample)) for line in text.splitlines() if line.startswith(sample))

    before = count()
    client.post("/v1/embeddings", content=gzip.compress(BODY), headers={**RIGHT, "Content-Encoding": "gzip"})
    assert count() == before + 1


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(
            (name, 200)
            for name in ("localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.0.0.2:8000", "[::1]:8000", "[::1]")
        ),
        *(
            (name, 421)
            for name in ("rebound.example", "127.0.0.1.example", "10.0.0.1", "[::1", "", "localhost.example:80")
        ),
    ],
)
def test_a_local_service_answers_to_loopback_names_alone(host, status, tiny_bert):
    app = create_app([Served("first", load_encoder(tiny_bert))], local=True)
    with TestClient(app) as client:
        assert client.get("/models", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("body", "encoding", "status", "sentence"),
    [
        (BODY, "gzip", 400, "not valid gzip"),
        (gzip.compress(BODY)[:-9], "gzip", 400, "cut off"),
        (gzip.compress(BODY) * 2, "gzip", 400, "more than one gzip stream"),
        (gzip.compress(b" " * 10_000_000), "gzip", 413, "larger than 100000 bytes"),
        (BODY, "br", 415, "'br' is not supported"),
        (b"", "gzip", 400, "cut off"),
    ],
    ids=["plain", "cut", "two", "bomb", "brotli", "empty"],
)
def test_what_is_wrong_with_a_compressed_body_is_said(client, body, encoding, status, sentence):
    answer = client.post("/v1/embeddings", content=body, headers={**RIGHT, "Content-Encoding": encoding})
    assert answer.status_code == status
    assert sentence in answer.json()["error"]["message"]


def test_pages_of_an_allowed_origin_may_use_the_service(client):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    answer = client.options("/v1/embeddings", headers={"Origin": ORIGIN, **asked})  # browsers send no token with it
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    for headers, status in (({}, 401), (RIGHT, 200)):
        answer = client.post("/v1/embeddings", content=BODY, headers={"Origin": ORIGIN, **headers})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
    refused = client.options("/v1/embeddings", headers={"Origin": "https://elsewhere.example", **asked})
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers


def test_no_other_page_may_by_default(tiny_bert):
    with TestClient(create_app([Served("first", load_encoder(tiny_bert))])) as client:
        answer = client.get("/models", headers={"Origin": ORIGIN})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_origins_are_checked():
    check_origins([ORIGIN, "https://example.org"], authenticated=False)
    check_origins(["*"], authenticated=True)
    for origin in ("example.org", "https://example.org/", "https://*.example.org", "null", ""):
        with pytest.raises(SmoothCSEError, match="is not an origin; give scheme and host"):
            check_origins([origin], authenticated=True)
    with pytest.raises(SmoothCSEError, match="every website"):
        check_origins(["*"], authenticated=False)
