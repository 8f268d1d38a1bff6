"""Sources of documents beside files: the built-in ``python-docs`` and datasets on the hub."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub.constants
import pytest

from loopback_hub import LoopbackHub
from smoothcse.corpus.documents import load_documents
from smoothcse.corpus.python_docs import labelled_pairs
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.retrieval import python_docs_task

ROWS = [{"title": "Sky", "text": "The sky is blue."}, {"text": "The sea is salty."}]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SMOOTHCSE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def hub(tmp_path, monkeypatch, no_backoff):
    """A hub with one dataset, an empty cache, and no delay between retries."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "downloads"))
    with LoopbackHub(tmp_path / "hub") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        server.write("datasets/me/docs/train.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS).encode())
        yield server


def refusal(source, **options):
    with pytest.raises(SmoothCSEError) as caught:
        load_documents(source, **options)
    return str(caught.value)


def test_python_docs_are_the_documents_that_are_searched_and_not_their_queries():
    task = python_docs_task()
    corpus = load_documents("python-docs", max_tokens=100_000, near_duplicates=None)
    assert corpus.dataset["text"][:] == [" ".join(document.split()) for document in task.documents]
    assert corpus.dataset["document"][:] == list(range(len(task.documents)))
    assert set(corpus.dataset["title"]) == {""}
    assert [place["file"] for place in corpus.dataset["place"]] == [pair.name for pair in labelled_pairs()]
    assert corpus.report.source == "python-docs"
    assert corpus.report.skipped == {}


def test_python_docs_have_no_columns():
    assert refusal("python-docs", column="text") == "python-docs has no columns: leave out 'text'."
    assert refusal("python-docs", title="name") == "python-docs has no columns: leave out 'name'."


def test_a_dataset_on_the_hub(hub):
    corpus = load_documents("me/docs")
    assert corpus.dataset["text"][:] == ["The sky is blue.", "The sea is salty."]
    assert corpus.dataset["title"][:] == ["Sky", ""]
    assert [place["file"] for place in corpus.dataset["place"]] == ["me/docs:train.jsonl:1", "me/docs:train.jsonl:2"]
    assert corpus.report.notes == ("files read: train.jsonl",)
    assert load_documents("me/docs:train.jsonl").dataset["text"][:] == corpus.dataset["text"][:]
    assert hub.count("GET", "train.jsonl") == 1


def test_a_local_path_takes_precedence_over_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("me/docs").mkdir(parents=True)
    Path("me/docs/a.csv").write_text("text\nA local text.\nAnother local text.\n")
    assert load_documents("me/docs").dataset["text"][:] == ["A local text.", "Another local text."]
    assert not hub.requests


def test_a_missing_dataset(hub):
    assert "Dataset me/none does not exist on the hub" in refusal("me/none")
    assert "'python-docs' or a hub dataset as owner/name" in refusal("none.txt")
