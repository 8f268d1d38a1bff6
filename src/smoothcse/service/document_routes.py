"""Endpoints that change an index; they need a token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query, Request
from rich.console import Console

from smoothcse.service.document_schemas import AddAnswer, AddRequest, DeleteAnswer
from smoothcse.service.limits import Refusal
from smoothcse.service.readings import Embeddings
from smoothcse.service.search_routes import ModelName
from smoothcse.service.the_encoders import TheEncoders

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SOURCE = "HTTP requests"


async def _authenticated(request: Request) -> None:
    if not request.app.state.authenticated:
        raise Refusal(
            403, "An index can be changed only through a service that requires a token; start it with SMOOTHCSE_TOKEN."
        )


router = APIRouter(tags=["documents"], dependencies=[Depends(_authenticated)])


@router.post("/documents")
async def add_documents(request: AddRequest, encoders: TheEncoders) -> AddAnswer:
    """Add documents to an index; those with known ids replace the earlier ones."""
    from smoothcse.search import Document

    served, index = encoders.find_indexed(request.model)
    encoders.limits.check_texts([one.text for one in request.documents], "documents")
    documents = [Document(one.text, one.id, dict(one.metadata)) for one in request.documents]
    reading = Embeddings.of(served.model, "document")

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return encoders.wait(served, texts, reading).vectors

    def add() -> int:
        index.add(documents, source=_SOURCE, console=Console(quiet=True), embed=embed)
        return len(index)

    total = await encoders.change(served, add)
    return AddAnswer(ids=[document.id for document in documents], documents=total)


@router.delete("/documents")
async def delete_documents(
    encoders: TheEncoders,
    id: Annotated[list[str], Query(description="Id of a document; repeat it for several.", min_length=1)],
    model: ModelName = None,
) -> DeleteAnswer:
    """Delete documents from an index; unknown ids are ignored."""
    served, index = encoders.find_indexed(model)

    def delete() -> tuple[int, int]:
        return index.delete(id, source=_SOURCE), len(index)

    deleted, total = await encoders.change(served, delete)
    return DeleteAnswer(deleted=deleted, documents=total)
