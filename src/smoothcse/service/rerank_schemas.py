"""Bodies of requests to rerank, in the forms of Cohere and Jina and of text-embeddings-inference."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator
from pydantic_core import PydanticCustomError

from smoothcse.service.schemas import OWN_FORM, TEI_FORM, Body
from smoothcse.service.tei_schemas import TeiOptions


class RerankDocument(BaseModel):
    """A document given as an object; other fields are ignored."""

    model_config = ConfigDict(strict=True)

    text: str


class RerankRequest(Body):
    """Request of Cohere's and Jina's APIs; fields without effect on the scores are ignored."""

    model_config = ConfigDict(extra="ignore")

    query: str
    documents: list[str | RerankDocument] = Field(description="Texts, or objects with the field `text`.")
    model: str | None = Field(default=None, description="Reranker or encoder; the reranker by default, if any.")
    top_n: int | None = Field(default=None, ge=1, description="Maximum number of results.")
    return_documents: bool | None = Field(default=None, description="Whether results contain the texts.")
    rank_fields: list[str] | None = Field(default=None, description='None, or `["text"]`.')

    @field_validator("rank_fields")
    @classmethod
    def _text_alone(cls, fields: list[str] | None) -> list[str] | None:
        if fields is not None and fields != ["text"]:
            raise PydanticCustomError("fields", 'only ["text"] is supported; join other fields into the text')
        return fields

    @property
    def texts(self) -> list[str]:
        """The texts of the documents."""
        return [one if isinstance(one, str) else one.text for one in self.documents]


class TeiRerankRequest(TeiOptions):
    """Request of text-embeddings-inference."""

    query: str
    texts: list[str]
    raw_scores: bool = Field(default=False, description="Whether a cross-encoder gives logits, not probabilities.")
    return_text: bool = Field(default=False, description="Whether results contain the texts.")


def _form(body: Any) -> str:
    return TEI_FORM if "texts" in (body if isinstance(body, dict) else {}) else OWN_FORM


AnyRerankRequest = Annotated[
    Annotated[RerankRequest, Tag(OWN_FORM)] | Annotated[TeiRerankRequest, Tag(TEI_FORM)], Discriminator(_form)
]
"""A body with ``documents``, or with ``texts``."""


class RerankResult(BaseModel):
    """A document and its score."""

    index: int = Field(description="Place of the document in the request.")
    relevance_score: float
    document: RerankDocument | None = None


class RerankUsage(BaseModel):
    """Tokens that the model processed."""

    total_tokens: int


class RerankAnswer(BaseModel):
    """Documents in order of decreasing relevance."""

    id: str
    model: str
    results: list[RerankResult]
    usage: RerankUsage


class TeiRank(BaseModel):
    """A text and its score."""

    index: int
    score: float
    text: str | None = None
