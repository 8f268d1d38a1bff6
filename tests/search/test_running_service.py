"""A search at the command line asks the service that holds the index, if there is one, and finds the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer.main

pytest.importorskip("lancedb", reason="needs the extra 'search'")
pytest.importorskip("fastapi", reason="needs the extra 'serve'")

from served import listening
from smoothcse import cli
from smoothcse.search import Document, Index
from smoothcse.search.running_service import SERVICE_FILE, announced, ask_service
from smoothcse.service import Served, create_app

TEXTS = ["a man is playing a guitar", "the cat is on the mat", "a woman cooks", "two dogs run", "the cat sleeps"]


def search(capsys, *arguments) -> str:
    typer.main.get_command(cli.app)(["search", *map(str, arguments)], standalone_mode=False)
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def index(tiny_bert, tmp_path_factory) -> Index:
    documents = [Document(text, metadata={"row": row}) for row, text in enumerate(TEXTS)]
    return Index.build(tmp_path_factory.mktemp("indexes") / "docs.index", tiny_bert, documents)


@pytest.fixture(scope="module", params=[None, "secret"])
def service(request, index):
    app = create_app([Served("tiny", index.model, index)], token=request.param)
    with (
        listening(app) as url,
        announced({index.path: "tiny"}, ("127.0.0.1", urlsplit(url).port)),
        pytest.MonkeyPatch.context() as patch,
    ):
        if request.param:
            patch.setenv("SMOOTHCSE_TOKEN", request.param)
        yield url


@pytest.fixture
def unloadable(monkeypatch):
    """Let no index be opened here."""
    monkeypatch.setattr(Index, "open", lambda *_, **__: pytest.fail("the model was loaded"))


@pytest.mark.parametrize(
    "options", [[], ["-k", 2], ["--cosine-weight", 0.2], ["--rerank", "maxsim", "-k", 3], ["--where", "row > 2"]]
)
def test_the_service_answers_as_a_search_here_does(options, index, service, capsys, monkeypatch):
    expected = search(capsys, index.path, "the cat", *options, "--here")
    with monkeypatch.context() as patch:
        patch.setattr(Index, "open", lambda *_, **__: pytest.fail("the model was loaded"))
        found = search(capsys, index.path, "the cat", *options)
    assert found.splitlines()[:5] == expected.splitlines()[:5]  # the last line may have the time


@pytest.mark.parametrize("options", [["--threshold", -1], ["--exact"], ["--here"]])
def test_what_the_service_cannot_do_is_done_here(options, index, service, capsys, unloadable):
    with pytest.raises(pytest.fail.Exception, match="the model was loaded"):
        search(capsys, index.path, "the cat", *options)


def test_the_service_of_another_folder_or_machine_is_not_asked(index, service, tmp_path):
    copied = Path(shutil.copytree(index.path, tmp_path / "copied"))
    assert ask_service(index.path, "the cat", 1) is not None
    assert ask_service(copied, "the cat", 1) is None
    content = json.loads((copied / SERVICE_FILE).read_text()) | {"index": str(copied.resolve())}
    (copied / SERVICE_FILE).write_text(json.dumps(content))
    assert ask_service(copied, "the cat", 1) is not None
    for url in ("http://example.org:80", "http://127.0.0.1:80@example.org:80", "file:///etc", "http://10.0.0.1:8000"):
        (copied / SERVICE_FILE).write_text(json.dumps(content | {"url": url}))
        assert ask_service(copied, "the cat", 1) is None
    for damaged in ("", "{}", "[]", "null", '{"url": 3, "model": 4, "index": 5}'):
        (copied / SERVICE_FILE).write_text(damaged)
        assert ask_service(copied, "the cat", 1) is None


def test_a_service_that_refuses_or_has_stopped_is_no_obstacle(index, service, monkeypatch, capsys):
    monkeypatch.setenv("SMOOTHCSE_TOKEN", "wrong")
    content = json.loads((index.path / SERVICE_FILE).read_text())
    (index.path / SERVICE_FILE).write_text(json.dumps(content | {"model": "another"}))
    assert ask_service(index.path, "the cat", 1) is None
    (index.path / SERVICE_FILE).write_text(json.dumps(content | {"url": "http://127.0.0.1:9"}))
    assert "the cat" in search(capsys, index.path, "the cat")
    (index.path / SERVICE_FILE).write_text(json.dumps(content) + "\n")


def test_an_announcement_ends_with_the_service_that_made_it(tmp_path):
    file = tmp_path / SERVICE_FILE
    with announced({tmp_path: "m"}, ("0.0.0.0", 1)):
        assert json.loads(file.read_text())["url"] == "http://127.0.0.1:1"
        with announced({tmp_path: "m"}, ("::1", 2, 0, 0)):
            assert json.loads(file.read_text())["url"] == "http://[::1]:2"
        assert not file.exists()
    with announced({tmp_path: "m"}, ("192.168.1.4", 1)):
        assert not file.exists()
    with announced({tmp_path / "nowhere": "m"}, ("127.0.0.1", 1)):
        pass


def test_asking_a_service_loads_nothing_heavy():
    code = (
        "import sys; import smoothcse.cli.search, smoothcse.search.running_service, smoothcse.search.text_ids\n"
        "print(*{'torch', 'transformers', 'pyarrow', 'lancedb', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
