"""The service answers as OpenAI's client, the page and Prometheus expect, and says what is wrong with a request."""

from __future__ import annotations

import base64
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
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
from smoothcse.service import (  # noqa: E402
    Limits,
    Served,
    create_app,
    readings,
)

TEXTS = sentences(40)


@pytest.fixture(scope="module")
def index(tiny_bert, tmp_path_factory):
    documents = [
        Document(text, str(row), {"year": 2000 + row % 5, "weight": float("nan") if row == 3 else row / 2})
        for row, text in enumerate(TEXTS)
    ]
    path = tmp_path_factory.mktemp("service") / "docs.index"
    return Index.build(path, tiny_bert, documents, console=Console(quiet=True))


@pytest.fixture(scope="module")
def encoders(index, tiny_bert):
    return [Served("first", index.model, index), Served("second", load_encoder(tiny_bert, "cls"))]


@pytest.fixture(scope="module")
def address(encoders):
    with listening(create_app(encoders)) as url:
        yield url


@pytest.fixture(scope="module")
def client(address):
    with httpx.Client(base_url=address, timeout=30) as found:
        yield found


def strictly_read(answer):
    """Read JSON as browsers do, which refuse NaN."""

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(answer.text, parse_constant=refuse)


def said(answer, status):
    """Return the sentence of an error of this status."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"message", "type"}
    return answer.json()["error"]["message"]


def test_openai_client(address, index):
    openai = pytest.importorskip("openai", reason="needs the package openai")
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="unused", max_retries=0)
    expected = encode(index.model, TEXTS[:5], normalize=True)
    for encoding_format in (openai.omit if hasattr(openai, "omit") else openai.NOT_GIVEN, "float", "base64"):
        answer = client.embeddings.create(model="first", input=TEXTS[:5], encoding_format=encoding_format)
        rows = [
            np.frombuffer(base64.b64decode(one.embedding), "<f4") if encoding_format == "base64" else one.embedding
            for one in answer.data
        ]
        assert [one.index for one in answer.data] == [0, 1, 2, 3, 4]
        assert np.array(rows) == pytest.approx(expected, abs=2e-2)
    assert answer.usage.prompt_tokens == sum(len(index.model.tokenizer(text)["input_ids"]) for text in TEXTS[:5])
    short = client.embeddings.create(model="first", input=TEXTS[0], dimensions=8).data[0].embedding
    cut = expected[0, :8] / np.linalg.norm(expected[0, :8])
    assert short == pytest.approx(cut, abs=2e-2)
    assert [model.id for model in client.models.list()] == ["first", "second"]
    assert client.models.retrieve("second").id == "second"
    with pytest.raises(openai.NotFoundError, match="no model 'a/third'; available: first, second"):
        client.models.retrieve("a/third")
    with pytest.raises(openai.NotFoundError, match="no model 'third'; available: first, second"):
        client.embeddings.create(model="third", input="a text")
    with pytest.raises(openai.BadRequestError, match="40 dimensions"):
        client.embeddings.create(model="first", input="a text", dimensions=40)


def test_search_finds_what_the_index_finds(client, index):
    answer = client.post("/search", json={"query": TEXTS[7], "k": 5}).json()
    assert [hit["id"] for hit in answer["results"]] == [hit.id for hit in index.search(TEXTS[7], k=5)]
    assert answer["results"][0]["id"] == "7"
    assert answer["results"][0]["metadata"] == {"year": 2002, "weight": 3.5}
    assert 0 < answer["milliseconds"] < 30_000
    where = {"year": {"gte": 2003}, "id": ["3", "4", "5", "8"]}
    answer = client.post("/search", json={"query": "the cat", "where": where, "model": "first"}).json()
    assert sorted(hit["id"] for hit in answer["results"]) == ["3", "4", "8"]
    as_text = "year >= 2003 AND id IN ('3', '4', '5', '8')"
    same = client.post("/search", json={"query": "the cat", "where": as_text, "model": "first"}).json()
    assert same["results"] == answer["results"]
    found = client.get("/neighbours", params={"id": "7", "k": 3}).json()["results"]
    assert [hit["id"] for hit in found] == [hit.id for hit in index.neighbours("7", 3)]


def test_the_cosine_weight_is_that_of_the_request_the_service_or_the_index(client, index):
    def answer(client, **options):
        found = client.post("/search", json={"query": TEXTS[7], "k": 5, **options}).json()
        assert all(abs(hit["cosine"]) < 1.001 for hit in found["results"])
        return found["cosine_weight"], [hit["id"] for hit in found["results"]]

    expected = {
        weight: [hit.id for hit in index.search(TEXTS[7], 5, cosine_weight=weight)] for weight in (0, 0.3, 0.7)
    }
    assert answer(client) == (0.7, expected[0.7])
    assert answer(client, cosine_weight=0.0) == (0, expected[0])
    assert client.post("/search", json={"query": "a", "cosine_weight": 1.5}).status_code == 422
    with TestClient(create_app([Served("first", index.model, index, cosine_weight=0.3)])) as other:
        assert answer(other) == (0.3, expected[0.3])
        assert answer(other, cosine_weight=0.0) == (0, expected[0])


def test_a_reranked_search_is_that_of_the_index(client, index):
    def answer(client, **options):
        found = client.post("/search", json={"query": TEXTS[7], **options}).json()
        return found["rerank"], [(hit["id"], pytest.approx(hit["score"], abs=1e-3)) for hit in found["results"]]

    expected = {
        rerank: [(hit.id, hit.score) for hit in index.search(TEXTS[7], 5, rerank=rerank)]
        for rerank in ("none", "maxsim")
    }
    assert expected["none"] != expected["maxsim"]
    assert answer(client, k=5) == ("none", expected["none"])
    assert answer(client, k=5, rerank="maxsim") == ("maxsim", expected["maxsim"])
    assert answer(client, where={"year": 1}, rerank="maxsim") == ("maxsim", [])
    assert client.post("/search", json={"query": "a", "rerank": "colbert"}).status_code == 422
    with TestClient(create_app([Served("first", index.model, index, rerank="maxsim")])) as other:
        assert answer(other, k=5) == ("maxsim", expected["maxsim"])
        assert answer(other, k=5, rerank="none") == ("none", expected["none"])


def test_metadata_of_any_name_are_served_and_an_incomplete_index_says_so(tiny_bert, tmp_path):
    names = ("a`b", "a.b", "_rowid", "*", '"', "id`; DROP")
    found = [Document(text, str(n), dict.fromkeys(names, f"x{n}")) for n, text in enumerate(TEXTS[:6])]
    index = Index.build(tmp_path / "docs.index", tiny_bert, found, console=Console(quiet=True))
    replace(index.record, unfinished=("/private/docs.jsonl",)).write(index.path)
    with TestClient(create_app([Served("first", index.model, index)])) as client:
        for name in names:
            answer = client.post("/search", json={"query": "the cat", "where": {name: ["x1", "x3"]}}).json()
            assert sorted((hit["id"], hit["metadata"][name]) for hit in answer["results"]) == [
                ("1", "x1"),
                ("3", "x3"),
            ]
        answers = [answer, client.get("/neighbours?id=1").json(), client.get("/map").json()]
        assert answers[2]["fields"] == list(names)
        for answer in (*answers, client.get("/models").json()["models"][0]):
            assert "The index docs.index is incomplete: a change from 'docs.jsonl'" in answer["incomplete"]
        message = said(client.post("/search", json={"query": "a", "where": {"_rowaddr": 1}}), 400)
        assert message.startswith("The index has no field '_rowaddr' (fields: id, a`b, a.b, _rowid")
        replace(index.record, unfinished=()).write(index.path)
        assert client.get("/models").json()["models"][0]["incomplete"] is None


def test_similarity(client, index):
    answer = client.post("/similarity", json={"a": TEXTS[:2], "b": TEXTS[2:5]}).json()
    rows = encode(index.model, TEXTS[:5], normalize=True)
    assert np.array(answer["scores"]) == pytest.approx(rows[:2] @ rows[2:].T, abs=2e-2)
    alone = np.array(client.post("/similarity", json={"a": TEXTS[:3]}).json()["scores"])
    assert alone.shape == (3, 3)
    assert np.diag(alone) == pytest.approx(np.ones(3), abs=1e-3)
    assert not np.array_equal(
        client.post("/similarity", json={"a": TEXTS[:3], "model": "second"}).json()["scores"], alone
    )


def test_models(client):
    assert client.get("/models").json() == {
        "models": [
            {"name": "first", "dimension": 32, "documents": 40, "incomplete": None},
            {"name": "second", "dimension": 32, "documents": None, "incomplete": None},
        ],
        "fields": ["year", "weight"],
    }


def test_the_map_is_drawn_once(client, index, monkeypatch):
    corpus_map = pytest.importorskip("smoothcse.service.corpus_map")
    drawn, draw = [], corpus_map.corpus_map
    monkeypatch.setattr(corpus_map, "corpus_map", lambda *given: drawn.append(given) or draw(*given))
    with ThreadPoolExecutor(4) as pool:
        maps = [strictly_read(answer) for answer in pool.map(lambda _: client.get("/map"), range(4))]
    assert len(drawn) == 1
    assert maps[0] == maps[3]
    points = {point["id"]: point for point in maps[0]["points"]}
    assert set(points) == {str(row) for row in range(40)}
    assert points["3"]["metadata"] == {"year": 2003, "weight": None}
    assert maps[0]["documents"] == 40
    assert client.get("/map/progress").json() == {"share": 1.0}
    with TestClient(create_app([Served("first", index.model, index)])) as other:  # from the file of the index
        assert strictly_read(other.get("/map")) == maps[0]
    assert len(drawn) == 1
    assert said(client.get("/map?model=second"), 404) == (
        "The model second is served without an index; start the service with --index."
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("/search", {"query": "a", "where": {"yeer": 1}}, 400, "no field 'yeer' (fields: id, year, weight)"),
        ("/search", {"query": "a", "where": {"year": "x' OR 1=1 --"}}, 400, "holds whole numbers"),
        ("/search", {"query": "a", "where": 1}, 422, "where: Input should be a valid dictionary or string."),
        ("/search", {"query": "a", "where": "yeer = 1"}, 400, "no field 'yeer' (fields: id, year, weight)"),
        ("/search", {"query": "a", "where": "year = 1; DROP TABLE documents"}, 400, "cannot be parsed from '; DROP"),
        ("/search", {"query": "a", "where": f"year = 1{'0' * 20_000}"}, 413, "20008 characters"),
        ("/facets", {"where": "year = 1"}, 422, "where: Input should be a valid dictionary."),
        ("/search", {"query": "a", "where": {"id": [str(row) for row in range(2000)]}}, 413, "2000 values"),
        ("/facets", {"where": {"yeer": 1}}, 400, "no field 'yeer' (fields: id, year, weight)"),
        ("/facets", {"where": {"id": [str(row) for row in range(2000)]}}, 413, "2000 values"),
        ("/facets", {"model": "second"}, 404, "served without an index"),
        ("/search", {"query": "a", "k": 0}, 422, "k: Input should be greater than or equal to 1."),
        ("/search", {"query": "a", "k": 10**9}, 400, "k is 1000000000 and must lie between 1 and 1000."),
        ("/search", {"query": "a", "k": "ten"}, 422, "k: Input should be a valid integer."),
        ("/search", {"query": "a", "limit": 3}, 422, "There is no field 'limit'."),
        ("/search", {"k": 3}, 422, "The field 'query' is missing."),
        ("/search", {"query": "a", "model": "second"}, 404, "served without an index"),
        ("/search", {"query": "x" * 20_001}, 413, "has 20001 characters, and the limit is 20000"),
        ("/search", ["a"], 422, "The body must be a JSON object"),
        ("/similarity", {"a": []}, 400, "a is empty; give at least one text."),
        ("/similarity", {"a": ["x", " \n"]}, 400, "a: text 1 (from 0) is empty; leave it out."),
        ("/similarity", {"a": ["x"] * 300, "b": ["y"] * 300}, 413, "90000 pairs, and the limit is 65536"),
        ("/v1/embeddings", {"input": ["x"] * 2049}, 413, "2049 texts, and the limit is 2048"),
        ("/v1/embeddings", {"input": [[1, 2], "x", 3]}, 422, "input: must be a text, a list of texts, or lists of"),
        ("/v1/embeddings", {"input": [True]}, 422, "lists of token ids"),
        ("/v1/embeddings", {"input": []}, 400, "input is empty"),
        ("/v1/embeddings", {"input": "x", "encoding_format": "int8"}, 422, "encoding_format"),
        ("/nowhere", {}, 404, "There is nothing at POST /nowhere"),
        ("/healthz", {}, 405, "There is no POST /healthz"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(client, path, body, status, sentence):
    message = said(client.post(path, json=body), status)
    assert sentence in message
    assert message.endswith((".", "…", ")", "?")) or status == 400
    assert len(message) < 650


def test_a_document_that_is_not_there(client):
    assert said(client.get("/neighbours", params={"id": "no' OR '1'='1"}), 404).startswith("There is no document")


def test_every_answer_carries_the_headers_of_the_page(client):
    for path in ("/", "/healthz", "/nowhere", "/docs", "/models"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_the_documentation_comes_from_this_machine(client):
    page = client.get("/docs").text
    assert "http" not in page.replace("http-equiv", "")
    for file in ("/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/openapi.json"):
        assert client.get(file).status_code == 200
    assert set(client.get("/openapi.json").json()["paths"]) == {
        *(
            "/v1/models",
            "/v1/models/{name}",
            "/v1/embeddings",
            *("/v1/files", "/v1/files/{id}", "/v1/files/{id}/content"),
            *("/v1/batches", "/v1/batches/{id}", "/v1/batches/{id}/cancel"),
            "/models",
            "/search",
            "/neighbours",
            "/similarity",
            "/map",
            "/map/progress",
            "/facets",
        ),
        *("/rerank", "/v1/rerank", "/v2/rerank", "/", "/embed", "/tokenize", "/decode", "/info", "/documents"),
        *("/healthz", "/health", "/metrics"),
    }


def test_metrics_tell_what_happened(encoders):
    with listening(create_app(encoders)) as url, httpx.Client(base_url=url) as client:
        client.post("/v1/embeddings", json={"input": TEXTS[:3]})
        client.get("/nowhere/at/all")
        lines = client.get("/metrics").text.splitlines()
    for line in (
        'smoothcse_requests_total{method="POST",path="/v1/embeddings",status="200"} 1.0',
        'smoothcse_requests_total{method="other",path="other",status="404"} 1.0',
        'smoothcse_batch_texts_sum{model="first"} 3.0',
        'smoothcse_waiting_texts{model="first"} 0.0',
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_token(encoders):
    with listening(create_app(encoders, token="s3cret")) as url, httpx.Client(base_url=url) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic s3cret"}):
            answer = client.post("/v1/embeddings", json={"input": "x"}, headers=headers)
            assert "requires a token" in said(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/metrics").status_code == 401
        assert client.get("/nowhere").status_code == 401
        assert client.get("/healthz").text == "ok"
        assert client.get("/docs").status_code == 200
        right = {"Authorization": "bearer s3cret"}
        assert client.post("/v1/embeddings", json={"input": "x"}, headers=right).status_code == 200


def test_a_service_for_this_machine_does_not_answer_to_other_names(encoders):
    with listening(create_app(encoders, local=True)) as url, httpx.Client(base_url=url) as client:
        assert client.get("/models").status_code == 200
        assert client.get("/models", headers={"Host": "localhost:99"}).status_code == 200
        assert "answers only to localhost" in said(client.get("/models", headers={"Host": "rebound.example"}), 421)


def test_a_full_queue_and_a_busy_model(encoders, monkeypatch):
    go, begun = threading.Event(), threading.Event()

    def held(model, texts, **options):
        begun.set()
        assert go.wait(20)
        return encode(model, texts, **options)

    monkeypatch.setattr(readings, "encode", held)
    app = create_app(encoders, limits=Limits(waiting_texts=4, answer_seconds=1.0))
    with listening(app) as url, httpx.Client(base_url=url) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/embeddings", json={"input": TEXTS[:3]})
        assert begun.wait(20)
        refused = client.post("/v1/embeddings", json={"input": TEXTS[:2]})
        assert "try again" in said(refused, 429)
        assert refused.headers["retry-after"] == "1"
        started = time.monotonic()
        assert client.get("/healthz").text == "ok"  # the event loop is free while the model computes
        assert time.monotonic() - started < 0.9
        assert "busy for 1 seconds" in said(first.result(20), 503)
        go.set()
        until(lambda: 'smoothcse_waiting_texts{model="first"} 0.0' in client.get("/metrics").text)
        assert client.post("/v1/embeddings", json={"input": TEXTS[:2]}).status_code == 200
