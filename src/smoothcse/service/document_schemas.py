"""Bodies of requests that change an index."""

from __future__ import annotations

from pydantic import BaseModel, Field

from smoothcse.service.schemas import Body


class NewDocument(Body):
    """A document to index."""

    text: str
    id: str = Field(default="", description="Id; a document with a known id is replaced. Default: a hash of the text.")
    metadata: dict[str, str | int | float | bool | None] = Field(default_factory=dict)


class AddRequest(Body):
    """Documents to add to an index."""

    documents: list[NewDocument]
    model: str | None = Field(default=None, description="Name from /models; the first by default.")


class AddAnswer(BaseModel):
    """Ids of the added documents, in the order of the request, and the size of the index."""

    ids: list[str]
    documents: int


class DeleteAnswer(BaseModel):
    """Number of deleted documents, and the size of the index."""

    deleted: int
    documents: int
