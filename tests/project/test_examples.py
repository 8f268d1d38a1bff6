"""The example scripts run as their first lines say."""

from __future__ import annotations

import runpy
import shutil
import sys
from unittest.mock import MagicMock

import pytest
from sentence_transformers import SentenceTransformer

from repository import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a script as its command does, but in this process, and returns what it prints."""

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [str(EXAMPLES / script), *map(str, arguments)])
        runpy.run_path(sys.argv[0], run_name="__main__")
        return capsys.readouterr().out

    return run


def test_ordinary_trainer_script(run, tiny_bert, corpus_file, tmp_path):
    out = run("sentence_transformers_trainer.py", tiny_bert, corpus_file, tmp_path / "out", 3)
    assert "trained 3 steps" in out
    assert SentenceTransformer(str(tmp_path / "out" / "model"), device="cpu").encode("the cat").shape == (32,)


def test_bare_loop(run, tiny_bert, corpus_file):
    lines = run("bare_loop.py", tiny_bert, corpus_file, 3).splitlines()
    assert [line.split()[:2] for line in lines] == [["step", "1"], ["step", "2"], ["step", "3"]]


def test_the_page_of_a_space(run, tiny_bert, tmp_path, monkeypatch):
    """Gradio is large, so a stand-in records what the script gives it; the search itself is real."""
    pytest.importorskip("lancedb", reason="needs the extra 'search'")
    from smoothcse import Index
    from smoothcse.search import Document

    shutil.copytree(tiny_bert, tmp_path / "model")
    (tmp_path / "adapt.json").write_text("{}")
    texts = ["the cat sleeps", "a man is playing a guitar"]
    documents = [Document(text, metadata={"file": f"{row}.md"}) for row, text in enumerate(texts)]
    Index.build(tmp_path / "documents.index", str(tmp_path), documents)
    gradio = MagicMock()
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    run("gradio_search.py", tmp_path)
    gradio.Interface.return_value.launch.assert_called_once_with()
    search = gradio.Interface.call_args.args[0]
    assert search("a man is playing a guitar", 1.0) == [["1.000", "a man is playing a guitar", "1.md"]]
    assert search(" ", 3) == []


SCRIPTS = [
    *sorted(EXAMPLES.glob("*.py")),
    *(file for file in sorted((EXAMPLES.parent / "benchmarks").glob("*.py")) if "__main__" in file.read_text()),
]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_script_answers_help(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    monkeypatch.syspath_prepend(script.parent)
    with pytest.raises(SystemExit) as leaving:
        runpy.run_path(str(script), run_name="__main__")
    assert leaving.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")
