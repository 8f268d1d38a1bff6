"""An index as tools of the Model Context Protocol, on standard input and output.

An agent starts ``smoothcse serve MODEL --index INDEX --mcp`` as a process of its own, and calls the tools ``search``
and ``get_document``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field
from rich.console import Console

from smoothcse import __version__
from smoothcse._utils.choices import Backend, PoolingName, Precision, Rerank
from smoothcse._utils.extras import extra
from smoothcse.encoders.precision import check_precision
from smoothcse.errors import SmoothCSEError
from smoothcse.service.served import Served, load_served

with extra("mcp", "The MCP server"):
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations

if TYPE_CHECKING:
    from smoothcse.search import Hit, Index

MOST_HITS = 100
"""Maximum documents per search: an agent reads them all."""

SHOWN_CHARACTERS = 2000
"""Maximum characters of a document in the results of a search; ``get_document`` returns the whole text."""


class IndexedDocument(BaseModel):
    """A document of the index."""

    id: str
    text: str
    metadata: dict[str, Any]


class ShownDocument(IndexedDocument):
    """A document that was found; a long text is cut."""

    score: float = Field(description="Score by which the documents are ordered.")
    cosine: float = Field(description="Cosine similarity with the query.")
    truncated: bool = Field(description="Whether the text is cut; get_document returns all of it.")


class ShownDocuments(BaseModel):
    """Documents in order of decreasing score."""

    documents: list[ShownDocument]
    incomplete: str | None = Field(default=None, description="Why documents may be missing; null if none are.")


def serve_mcp(
    models: Sequence[str],
    indexes: Sequence[Path],
    poolings: Sequence[PoolingName] = (),
    *,
    cosine_weight: float | None = None,
    rerank: Rerank | None = None,
    backend: Backend | None = None,
    precision: Precision = "auto",
) -> None:
    """Serve an index to the client on standard input and output, until it closes them.

    Args:
        models: The model, see :func:`~smoothcse.service.served.load_served`.
        indexes: The index, built with the model.
        poolings: Pooling to use instead of the model's own.
        cosine_weight: Default weight of the cosine similarity in a search. Default: that of the index.
        rerank: Second stage of a search. Default: that of the index.
        backend: Runtime of the model, see :func:`~smoothcse.encoders.load.load_encoder`. Default: that of its folder.
        precision: Arithmetic of the model, see :func:`~smoothcse.encoders.inference.encode`.

    Raises:
        SmoothCSEError: If there is no index or more than one model, or one of them cannot be used.
    """
    if len(models) != 1 or len(indexes) != 1:
        raise SmoothCSEError(
            f"--mcp serves one model with its index, and {len(models)} and {len(indexes)} are given; build an index "
            "with `smoothcse index`, and give it with --index."
        )
    check_precision(precision, "encode")
    [served] = load_served(models, indexes, poolings, cosine_weight, rerank, backend)
    server = create_mcp_server(served, precision)
    Console(stderr=True, highlight=False).print(
        f"Serving {indexes[0]} with the model {served.name} over MCP, on standard input and output.",
        soft_wrap=True,
        markup=False,
    )
    server.run("stdio")


def create_mcp_server(served: Served, precision: Precision = "fp32") -> MCPServer:
    """Create the server.

    Args:
        served: Encoder with its index.
        precision: Arithmetic of the encoder.

    Raises:
        SmoothCSEError: If the encoder has no index.
    """
    from smoothcse.search import Index

    if served.index is None:
        raise SmoothCSEError(f"The model {served.name} has no index for an MCP server to search; give one.")
    index = Index(served.index.path, served.model, precision)
    about = _about(served.name, index)
    server = MCPServer("smoothcse", version=__version__, instructions=about, log_level="WARNING")
    reading = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    one_at_a_time = threading.Lock()  # tools run in threads, and a tokenizer can be used by one

    @server.tool(annotations=reading, description=f"{about} {_conditions(index)}")
    def search(
        query: Annotated[str, Field(description="What to look for, in plain words.")],
        k: Annotated[int, Field(ge=1, le=MOST_HITS, description="Maximum number of documents.")] = 10,
        where: Annotated[
            str | None, Field(description="SQL-like condition on the metadata: year >= 2020 AND source = 'x'.")
        ] = None,
    ) -> ShownDocuments:
        with one_at_a_time, _told():
            hits = index.search(query, k, where=where, cosine_weight=served.cosine_weight, rerank=served.rerank)
            return ShownDocuments(documents=[_shown(hit) for hit in hits], incomplete=index.incomplete)

    @server.tool(annotations=reading, description=f"Return a whole document of the index {index.path.name} by its id.")
    def get_document(id: Annotated[str, Field(description="Id from the results of search.")]) -> IndexedDocument:
        with _told():
            found = index.document(id)
            return IndexedDocument(id=found.id, text=found.text, metadata=dict(found.metadata))

    return server


def _about(model: str, index: Index) -> str:
    by = "by words and meaning" if index.cosine_weight < 1 else "by meaning"
    return f"Search the {len(index):,} documents of the index {index.path.name} {by} (encoder: {model})."


def _conditions(index: Index) -> str:
    if not index.fields:
        return "The documents have no metadata."
    return f"Metadata for conditions: {', '.join(index.fields)}."


def _shown(hit: Hit) -> ShownDocument:
    return ShownDocument(
        id=hit.id,
        text=hit.text[:SHOWN_CHARACTERS],
        metadata=hit.metadata,
        score=hit.score,
        cosine=hit.cosine,
        truncated=len(hit.text) > SHOWN_CHARACTERS,
    )


@contextmanager
def _told() -> Iterator[None]:
    """Tell the agent what was wrong with its arguments; the SDK hides other errors."""
    try:
        yield
    except SmoothCSEError as error:
        raise ToolError(str(error)) from error
