"""Two commands lead from a folder of documents to a page that searches them."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

import pytest
import typer.main

from made_documents import save_pdf
from smoothcse import cli
from smoothcse.errors import SmoothCSEError
from tiny import WORDS

pytest.importorskip("lancedb")
pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from smoothcse.search import Index
from smoothcse.service import connection


class Unstarted:
    """A server that only keeps its application."""

    app = None

    def __init__(self, app, *_, **__) -> None:
        Unstarted.app = app

    def run(self, sockets) -> None:
        for bound in sockets:
            bound.close()


def sentences(seed: int) -> str:
    """Return three sentences of random words, of which a probe can be made."""
    generator, words = random.Random(seed), sorted(set(WORDS.split()))
    return " ".join(f"The {' '.join(generator.choices(words, k=6))}." for _ in range(3))


def smoothcse(*arguments: str) -> None:
    typer.main.get_command(cli.app)([*map(str, arguments)], standalone_mode=False)


@pytest.fixture(scope="module")
def docs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    for number in range(3):
        (folder / f"{number}.md").write_text(f"# Part {number}\n\n{sentences(number)}\n")
        (folder / f"{number}.txt").write_text(sentences(number + 9))
    (folder / "page.html").write_text("<title>Cats</title><p>The cat is on the mat.</p>")
    save_pdf(folder / "paper.pdf", ["a man is playing a guitar"])
    return folder


@pytest.fixture(scope="module")
def adapted(docs, tiny_bert, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "my"
    smoothcse("adapt", docs, "-o", folder, "--model", tiny_bert, "--precision", "fp32")
    return folder


def test_the_page_of_the_second_command_searches_the_folder_of_the_first(adapted, docs, monkeypatch):
    monkeypatch.setattr(connection, "make_server", Unstarted)
    smoothcse("serve", adapted, "--port", "0")
    with TestClient(Unstarted.app, base_url="http://localhost") as client:
        answer = client.post("/search", json={"query": "a man is playing a guitar", "k": 1})
        assert answer.status_code == 200, answer.text
        [hit] = answer.json()["results"]
        assert hit["metadata"] == {"file": str(docs / "paper.pdf"), "page": 1}
        assert "search" in client.get("/").text.lower()
    index = Index.open(adapted / "documents.index")
    assert {document.metadata["file"].rpartition(".")[2] for document in index.sample(9)[0]} == {
        "html", "md", "pdf", "txt"
    }  # fmt: skip


def test_the_folder_of_an_adaptation_is_searched_at_the_command_line_wherever_it_is(adapted, tmp_path, capsys):
    moved = Path(shutil.copytree(adapted, tmp_path / "moved"))
    record = moved / "documents.index" / "index.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "model": "/nowhere"}))
    smoothcse("search", moved, "a man is playing a guitar", "-k", "1")
    assert "1.000  a man is playing a guitar" in capsys.readouterr().out


def test_the_same_command_builds_a_missing_index_and_leaves_a_complete_one_alone(
    adapted, docs, tiny_bert, tmp_path, capsys, monkeypatch
):
    copied = Path(shutil.copytree(adapted, tmp_path / "my"))
    command = ["adapt", docs, "-o", copied, "--model", tiny_bert, "--precision", "fp32"]
    before = {path: path.stat().st_mtime_ns for path in (copied / "documents.index").rglob("*")}
    smoothcse(*command)
    assert {path: path.stat().st_mtime_ns for path in (copied / "documents.index").rglob("*")} == before
    shutil.rmtree(copied / "documents.index")
    smoothcse(*command, "--no-index")
    assert not (copied / "documents.index").exists()
    monkeypatch.setitem(sys.modules, "lancedb", None)
    smoothcse(*command)
    assert "The documents are not indexed: the package lancedb is not installed" in capsys.readouterr().err
    monkeypatch.undo()
    smoothcse(*command)
    assert len(Index.open(copied / "documents.index")) == 8


def test_an_adaptation_to_a_table_keeps_its_columns(tiny_bert, tmp_path):
    rows = [{"text": sentences(year), "year": year} for year in range(2000, 2005)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    smoothcse("adapt", tmp_path / "rows.jsonl", "-o", tmp_path / "my", "--model", tiny_bert, "--precision", "fp32")
    index = Index.open(tmp_path / "my" / "documents.index")
    assert index.fields == ["year"]
    [hit] = index.search("the cat", 1, where={"year": 2003})
    assert hit.metadata == {"year": 2003}


def test_the_start_is_indexed_with_the_same_passages(adapted, tiny_bert, tmp_path):
    """So that the page, which compares hits by their ids, finds the same ones before and after."""
    smoothcse("index", tiny_bert, adapted, "-o", tmp_path / "start.index", "--precision", "fp32")
    after, before = Index.open(adapted / "documents.index"), Index.open(tmp_path / "start.index")
    ids = [{document.id for document in index.sample(99)[0]} for index in (after, before)]
    assert ids[0] == ids[1]
    assert len(ids[0]) == len(after) == 8


def test_an_index_without_its_model_is_no_place_to_serve(tmp_path):
    with pytest.raises(SmoothCSEError, match="is neither a folder"):
        smoothcse("serve", tmp_path / "nothing", "--port", "0")
