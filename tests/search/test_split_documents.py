"""What `smoothcse index` reads: rows and lines as they are, folders and files with markup by passage."""

from __future__ import annotations

import pytest

from smoothcse.errors import SmoothCSEError
from smoothcse.search import Index, read_documents
from smoothcse.search.split_documents import find_to_index


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "docs"
    made.mkdir()
    (made / "sea.md").write_text("# The sea\n\nThe sea is *salty*, because rivers carry minerals into it.\n")
    (made / "sky.txt").write_text("The sky is blue.\n" * 3 + "Air scatters short waves more than long ones.\n")
    return made


def test_a_folder_is_indexed_by_passage(folder, tiny_bert, tmp_path):
    index = Index.build(tmp_path / "index", tiny_bert, find_to_index(str(folder)))
    [sea] = index.search("salt", k=1, where="title = 'The sea'")
    assert "The sea is salty" in sea.text
    assert sea.metadata["file"].endswith("sea.md")
    assert len(index) == 2


def test_a_file_with_markup_is_read_without_it(folder):
    file = folder / "ice.html"
    file.write_text(f"<title>Ice</title><p>{'Ice floats. ' * 40}</p><p>{'It is <b>lighter</b>. ' * 40}</p>")
    passages = list(find_to_index(str(file)))
    assert len(passages) >= 2
    assert all("<" not in passage.text and passage.metadata["title"] == "Ice" for passage in passages)


def test_a_single_passage_can_be_indexed(tmp_path, tiny_bert):
    (tmp_path / "note.md").write_text("# A note\n\nThe sea is salty.\n")
    index = Index.build(tmp_path / "index", tiny_bert, find_to_index(str(tmp_path / "note.md")))
    assert len(index) == 1
    (tmp_path / "note.md").write_text("---\n")
    with pytest.raises(SmoothCSEError, match=r"note.md: no passage is left, and at least 1 needed; documents read: 1"):
        list(find_to_index(str(tmp_path / "note.md")))


def test_rows_and_lines_are_read_as_they_are(folder, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "body": "One. Two."}\n{"id": "b", "body": "Three."}\n')
    assert [(row.id, row.text) for row in find_to_index(str(tmp_path / "rows.jsonl"), "body")] == [
        ("a", "One. Two."),
        ("b", "Three."),
    ]
    lines = folder / "sky.txt"
    assert list(find_to_index(str(lines))) == list(read_documents(lines))


@pytest.mark.parametrize("name", ["missing.jsonl", "missing", "docs/missing.md"])
def test_a_missing_source_is_named(folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SmoothCSEError, match="missing"):
        list(find_to_index(name))
