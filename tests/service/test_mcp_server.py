"""Agents find documents of an index over the Model Context Protocol, with the SDK's own client."""

from __future__ import annotations

import os
import sys

import anyio
import pytest
from rich.console import Console

for package in ("fastapi", "mcp", "lancedb"):
    pytest.importorskip(package, reason="needs the extra 'mcp'")

from mcp import Client, StdioServerParameters  # noqa: E402
from mcp.client.stdio import stdio_client  # noqa: E402

from commands import run_here  # noqa: E402
from smoothcse.encoders.load import load_encoder  # noqa: E402
from smoothcse.errors import SmoothCSEError  # noqa: E402
from smoothcse.search import Document, Index  # noqa: E402
from smoothcse.service.mcp_server import SHOWN_CHARACTERS, create_mcp_server  # noqa: E402
from smoothcse.service.served import Served  # noqa: E402
from tiny import sentences  # noqa: E402

LONG = "the sea " * SHOWN_CHARACTERS


@pytest.fixture(scope="module")
def index(tiny_bert, tmp_path_factory):
    documents = [Document(text, f"d{row}", {"year": 2000 + row}) for row, text in enumerate(sentences(20))]
    path = tmp_path_factory.mktemp("mcp") / "docs.index"
    return Index.build(
        path, tiny_bert, [*documents, Document(LONG, "long", {"year": 1999})], console=Console(quiet=True)
    )


def ask(server, *calls):
    """Return the tools of a server by name, and the result of each call."""

    async def asking():
        async with Client(server) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            return tools, [await client.call_tool(name, arguments) for name, arguments in calls]

    return anyio.run(asking)


@pytest.fixture(scope="module")
def server(index):
    return create_mcp_server(Served("tiny", index.model, index, rerank="none"))


def test_the_tools_name_the_model_the_index_and_its_fields(server):
    tools, _ = ask(server)
    assert set(tools) == {"search", "get_document"}
    assert "docs.index" in tools["search"].description
    assert "21 documents" in tools["search"].description
    assert "encoder: tiny" in tools["search"].description
    assert "year" in tools["search"].description
    assert tools["search"].input_schema["required"] == ["query"]
    assert all(tool.annotations.read_only_hint for tool in tools.values())


def test_a_search_finds_what_the_index_finds(server, index):
    query, where = sentences(1)[0], "year >= 2000 AND year < 2010"
    _, [answer] = ask(server, ("search", {"query": query, "k": 4, "where": where}))
    found = answer.structured_content["documents"]
    hits = index.search(query, 4, where=where)
    assert [one["id"] for one in found] == [hit.id for hit in hits]
    assert [one["score"] for one in found] == pytest.approx([hit.score for hit in hits])
    assert found[0]["text"] == query
    assert found[0]["metadata"] == {"year": 2000}
    assert not found[0]["truncated"]


def test_a_long_document_is_cut_in_a_search_and_whole_by_its_id(server):
    _, [searched, fetched] = ask(
        server, ("search", {"query": "the sea", "where": "year = 1999"}), ("get_document", {"id": "long"})
    )
    [found] = searched.structured_content["documents"]
    assert found["truncated"]
    assert len(found["text"]) == SHOWN_CHARACTERS
    assert fetched.structured_content == {"id": "long", "text": LONG, "metadata": {"year": 1999}}


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        ("search", {"query": "a", "where": "month = 3"}, "month"),
        ("search", {"query": "a", "k": 0}, "greater than or equal to 1"),
        ("get_document", {"id": "d99"}, "has no document 'd99'"),
    ],
)
def test_the_agent_is_told_what_was_wrong(server, tool, arguments, sentence):
    _, [answer] = ask(server, (tool, arguments))
    assert answer.is_error
    assert sentence in answer.content[0].text


def test_the_command_serves_on_standard_input_and_output(index, tiny_bert):
    arguments = ["-m", "smoothcse", "serve", tiny_bert, "--index", str(index.path), "--mcp", "--rerank", "none"]
    process = stdio_client(StdioServerParameters(command=sys.executable, args=arguments, env={**os.environ}))
    tools, [answer] = ask(process, ("search", {"query": sentences(1)[0], "k": 1}))
    assert "docs.index" in tools["search"].description
    assert [one["id"] for one in answer.structured_content["documents"]] == ["d0"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "--mcp serves one model with its index, and 1 and 0 are given"),
        (("--port", "9000"), "leave out --port"),
        (("--index", "nowhere.index"), "nowhere.index holds no index"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(tiny_bert, options, sentence, capsys):
    assert run_here("serve", tiny_bert, "--mcp", *options) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert sentence in line


def test_a_model_without_an_index_is_refused(tiny_bert):
    with pytest.raises(SmoothCSEError, match="has no index"):
        create_mcp_server(Served("tiny", load_encoder(tiny_bert)))
