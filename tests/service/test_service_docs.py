"""What the documentation of the service shows works as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess

import pytest
from rich.console import Console
from typer.testing import CliRunner

from repository import REPOSITORY
from served import listening
from smoothcse.cli import app
from tiny import sentences

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client", "lancedb"):
    pytest.importorskip(package, reason="needs the extra 'serve'")

import httpx  # noqa: E402

from smoothcse.search import Document, Index  # noqa: E402
from smoothcse.service import Limits, Served, create_app  # noqa: E402

PAGE = (REPOSITORY / "docs" / "how-to" / "service.md").read_text(encoding="utf-8")
LINES = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
CURLS = [line for line in LINES if line.startswith("curl")]


@pytest.fixture(scope="module")
def address(tiny_bert, tmp_path_factory):
    documents = [
        Document(text, str(row), {"year": 2015 + row % 10, "source": "abc"[row % 3]})
        for row, text in enumerate(sentences(40))
    ]
    path = tmp_path_factory.mktemp("docs") / "docs.index"
    index = Index.build(path, tiny_bert, documents, console=Console(quiet=True))
    with listening(create_app([Served("packaged-minilm", index.model, index)])) as url:
        yield url


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("line", CURLS)
def test_curl(address, line):
    words = shlex.split(line.replace("http://127.0.0.1:8000", address))
    answer = subprocess.run([*words, "--fail-with-body"], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    if line.endswith(("/healthz", "/metrics")):
        assert answer.stdout.startswith(("ok", "#"))
    elif "/search" in line or "/neighbours" in line:
        assert json.loads(answer.stdout)["results"]
    else:
        assert json.loads(answer.stdout)


def test_all_endpoints_are_shown():
    assert len(CURLS) == 10


def test_the_client_of_openai(address):
    pytest.importorskip("openai", reason="needs the package openai")
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(program.replace("http://127.0.0.1:8000", address), names)
    assert len(names["answer"].data) == 2


def test_every_path_is_on_the_page(address):
    shown = PAGE.replace("NAME", "{name}")
    for path in httpx.get(f"{address}/openapi.json").json()["paths"]:
        assert re.search(rf"{re.escape(path)}(?![a-z])", shown), path


def test_the_command_has_the_options_that_are_shown():
    text = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for option in set(re.findall(r"--[a-z-]+", PAGE)):
        assert option in text, option


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("characters of a text", "text_characters"),
        ("texts of a request", "texts"),
        ("pairs of a request", "pairs"),
        ("texts that wait", "waiting_texts"),
        ("open connections", "connections"),
        ("requests processed at the same time", "requests"),
        ("seconds that the headers may take", "head_seconds"),
        ("seconds that a client may take", "download_seconds"),
        ("seconds that a body may take", "upload_seconds"),
        ("seconds that a request waits", "answer_seconds"),
    ],
)
def test_the_limits_are_those_of_the_service(words, field):
    [row] = [line for line in PAGE.splitlines() if line.startswith(f"| {words}")]
    assert int(row.split("|")[2].replace(",", "")) == getattr(Limits(), field)
