"""The sentences that an export is compared on are of the text that the model was trained on, wherever it is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smoothcse.errors import SmoothCSEError
from smoothcse.export import own_texts
from smoothcse.export.own_texts import comparison_texts


def lines(folder: Path) -> set[str]:
    return {f"{folder.name} {number}" for number in range(20)}


@pytest.fixture
def adaptation(tmp_path) -> Path:
    folder = tmp_path / "adapted"
    (folder / "model").mkdir(parents=True)
    (folder / "adapt.json").write_text("{}")
    rows = [{"text": line, "title": "a title"} for line in lines(folder)]
    (folder / "text.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "run"
    (folder / "best").mkdir(parents=True)
    rows = [{"a": line, "b": f"not {line}"} for line in lines(folder)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {"corpus": str(folder / "pairs.jsonl"), "columns": ["a", "b"], "model": "m", "output": str(folder)}
    (folder / "run.json").write_text(json.dumps({"schema_version": 2, "config": config}))
    return folder


@pytest.mark.parametrize(("kind", "model"), [("adaptation", "model"), ("run", "best")])
def test_they_are_a_sample_of_the_recorded_text_for_the_folder_and_for_the_model_in_it(kind, model, request):
    folder = request.getfixturevalue(kind)
    for name in (folder, folder / model):
        found = comparison_texts(str(name), None, 8)
        assert len(found.texts) == 8
        assert set(found.texts) < lines(folder)
        assert str(folder) in found.origin
        assert found.kind in found.origin
        assert "/" not in found.kind  # it is uploaded with the model


def test_a_source_that_is_given_takes_precedence(adaptation, tmp_path):
    (tmp_path / "mine.txt").write_text("one\ntwo\nthree\n")
    found = comparison_texts(str(adaptation), str(tmp_path / "mine.txt"), 8)
    assert set(found.texts) == {"one", "two", "three"}
    with pytest.raises(SmoothCSEError, match="nowhere"):
        comparison_texts(str(adaptation), "nowhere.txt", 8)


def test_text_that_is_gone_or_unknown_is_replaced_and_a_sentence_says_so(run, tmp_path, monkeypatch):
    (tmp_path / "built-in.txt").write_text("one\ntwo\nthree\n")
    monkeypatch.setattr(own_texts, "PYTHON_DOCS", tmp_path / "built-in.txt")  # which takes half a minute to collect
    (run / "pairs.jsonl").unlink()
    found = comparison_texts(str(run), None, 8)
    assert set(found.texts) == {"one", "two", "three"}
    assert "from the Python documentation" in found.origin
    assert "cannot be read" in found.origin
    assert "pairs.jsonl" in found.origin
    unknown = comparison_texts("somebody/model", None, 8)
    assert unknown.texts == found.texts
    assert "no training text is recorded; give your own with --texts" in unknown.origin
