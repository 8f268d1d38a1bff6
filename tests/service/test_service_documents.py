"""Documents are added and deleted over HTTP, by those who have the token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from rich.console import Console

from served import listening
from tiny import sentences

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client", "lancedb"):
    pytest.importorskip(package, reason="needs the extra 'serve'")

import httpx  # noqa: E402

from smoothcse.search import Document, Index  # noqa: E402
from smoothcse.search.index_folder import locked  # noqa: E402
from smoothcse.service import Served, create_app  # noqa: E402

TEXTS = sentences(24)
FIRST, NEW = TEXTS[:8], TEXTS[8:]


def built(folder, model):
    documents = [Document(text, str(row), {"year": 2000 + row}) for row, text in enumerate(FIRST)]
    return Index.build(folder / "docs.index", model, documents, console=Console(quiet=True))


@contextmanager
def served(index):
    app = create_app([Served("first", index.model, index)], token="s3cret")
    headers = {"Authorization": "Bearer s3cret"}
    with listening(app) as url, httpx.Client(base_url=url, headers=headers, timeout=30) as found:
        yield found


@pytest.fixture
def index(tiny_bert, tmp_path):
    return built(tmp_path, tiny_bert)


@pytest.fixture
def client(index):
    with served(index) as found:
        yield found


@pytest.fixture(scope="module")
def unchanged(tiny_bert, tmp_path_factory):
    """An index for the tests that change nothing, and its client."""
    index = built(tmp_path_factory.mktemp("unchanged"), tiny_bert)
    with served(index) as found:
        yield index, found


def best(client, query):
    return client.post("/search", json={"query": query, "k": 1, "cosine_weight": 1.0}).json()["results"][0]


def test_documents_are_added_replaced_and_deleted(client, index):
    assert client.get("/map").status_code == 200
    body = {
        "documents": [{"text": text, "id": f"new-{n}", "metadata": {"year": 1990 + n}} for n, text in enumerate(NEW)]
    }
    answer = client.post("/documents", json=body)
    assert answer.json() == {"ids": [f"new-{n}" for n in range(16)], "documents": 24}
    found = best(client, NEW[3])
    assert (found["id"], found["metadata"]) == ("new-3", {"year": 1993})
    assert found["cosine"] == pytest.approx(1, abs=1e-3)
    assert len(client.get("/map").json()["points"]) == 24  # drawn again

    body = {"documents": [{"text": NEW[0], "id": "new-3"}, {"text": "cats sing"}]}
    [_, hashed] = client.post("/documents", json=body).json()["ids"]
    assert best(client, "cats sing")["id"] == hashed == Document("cats sing").id
    assert best(client, NEW[3])["id"] != "new-3"

    answer = client.delete("/documents", params={"id": ["new-3", hashed, "unknown"]})
    assert answer.json() == {"deleted": 2, "documents": 23}
    assert best(client, "cats sing")["id"] != hashed
    assert index.incomplete is None
    assert len(Index.open(index.path)) == 23


def test_changes_at_the_same_time_wait_for_each_other(client):
    def add(number):
        return client.post("/documents", json={"documents": [{"text": NEW[number], "id": f"new-{number}"}]})

    with ThreadPoolExecutor(6) as pool:
        searches = [pool.submit(best, client, text) for text in FIRST]
        answers = list(pool.map(add, range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert sorted(answer.json()["documents"] for answer in answers) == list(range(9, 15))
    assert all(search.result() for search in searches)


def test_nobody_changes_an_index_without_a_token(unchanged):
    index, client = unchanged
    body = {"documents": [{"text": "a text"}]}
    for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}):
        assert client.post("/documents", json=body, headers=headers).status_code == 401
        assert client.delete("/documents?id=1", headers=headers).status_code == 401
    with listening(create_app([Served("first", index.model, index)])) as url:
        for answer in (httpx.post(f"{url}/documents", json=body), httpx.delete(f"{url}/documents?id=1")):
            assert answer.status_code == 403
            assert "start it with SMOOTHCSE_TOKEN" in answer.json()["error"]["message"]
    assert len(index) == 8


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"documents": []}, 400, "documents is empty"),
        ({"documents": [{"text": " "}]}, 400, "documents: text 0"),
        ({"documents": [{"id": "a"}]}, 422, "The field 'documents.0.text' is missing."),
        ({"documents": [{"text": "a", "title": "b"}]}, 422, "There is no field 'documents.0.title'."),
        ({"documents": [{"text": "a", "metadata": {"year": "recent"}}]}, 400, "year"),
        ({"documents": [{"text": "a", "metadata": {"year": 10**30}}]}, 400, "year"),
        ({"documents": [{"text": "a"}], "model": "second"}, 404, "no model 'second'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_changes(unchanged, body, status, sentence):
    index, client = unchanged
    answer = client.post("/documents", json=body)
    assert answer.status_code == status, answer.text
    assert sentence in answer.json()["error"]["message"]
    assert len(index) == 8
    assert index.incomplete is None
    assert client.delete("/documents").status_code == 422


def test_an_index_that_another_process_changes(client, index):
    with locked(index.path):
        answer = client.post("/documents", json={"documents": [{"text": "a text"}]})
    assert answer.status_code == 400
    assert "in use by" in answer.json()["error"]["message"]
    assert client.delete("/documents?id=1").json() == {"deleted": 1, "documents": 7}
