"""Schemas of request and answer bodies, from which the API documentation is generated."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from smoothcse._utils.choices import Rerank

UNUSABLE = "unusable"
"""Error type for bodies with unusable values."""

OWN_FORM, TEI_FORM = "form:own", "form:tei"
FORMS = (OWN_FORM, TEI_FORM)
"""Tags of the two forms of a body, on paths that this service shares with text-embeddings-inference."""


class Body(BaseModel):
    """Body of a request; unknown fields and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _can_be_written(cls, body: Any) -> Any:
        """Refuse bodies that are valid JSON but cannot be encoded as UTF-8, or are nested too deeply."""
        if not isinstance(body, dict):  # e.g. bytes of another content type, which are refused later
            return body
        try:
            json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            message = "A text of the body has an unpaired surrogate (half a character); fix its encoding."
            raise PydanticCustomError(UNUSABLE, message) from error
        except RecursionError as error:
            raise PydanticCustomError(UNUSABLE, "The body is nested too deeply.") from error
        return body


def _filter_or_condition(value: object) -> object:
    if not isinstance(value, dict | str):
        raise PydanticCustomError("where_type", "Input should be a valid dictionary or string")
    return value


Where = Annotated[dict[str, Any] | str, BeforeValidator(_filter_or_condition)]
"""Conditions by field, or one condition as a string."""


class SearchRequest(Body):
    """A query to an index."""

    query: str
    k: int = Field(default=10, ge=1, description="Maximum number of documents.")
    where: Where | None = Field(
        default=None,
        description="Conditions on the metadata that must all hold: a value, a list of values, or a comparison "
        "(`gte`, `gt`, `lte`, `lt`, `ne`); or a condition as in SQL, as `smoothcse search --where` takes it.",
        examples=[{"year": {"gte": 2020}, "source": ["a", "b"]}, "year >= 2020 AND source = 'a'"],
    )
    cosine_weight: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Weight of the cosine similarity in the score; BM25 has the rest. 1 is meaning alone, 0 words "
        "alone. By default that of the service or of the index.",
    )
    rerank: Rerank | None = Field(
        default=None,
        description="`maxsim` compares the first 50 documents with the query token by token, which takes longer; "
        "`none` leaves this out. By default that of the service or of the index.",
    )
    model: str | None = Field(default=None, description="Name from /models; the first by default.")


class FoundDocument(BaseModel):
    """A document, its score in this search, and its cosine similarity."""

    id: str
    text: str
    score: float = Field(
        description="Fused score of words and meaning, from 0 to 1, or the cosine similarity; from 2 to 3 for the "
        "documents that `maxsim` compared."
    )
    cosine: float
    metadata: dict[str, Any]


class SearchAnswer(BaseModel):
    """Documents in order of decreasing score."""

    results: list[FoundDocument]
    milliseconds: float
    cosine_weight: float = Field(description="Weight of the cosine similarity in the scores; BM25 has the rest.")
    rerank: Rerank = Field(description="Second stage of the search.")
    incomplete: str | None = Field(default=None, description="Why documents may be missing; null if none are.")


class SimilarityRequest(Body):
    """Two lists of texts; without the second, the first is compared with itself."""

    a: list[str]
    b: list[str] | None = None
    model: str | None = Field(default=None, description="Name from /models; the first by default.")


class SimilarityAnswer(BaseModel):
    """Cosine similarities, with one row per text of ``a``."""

    scores: list[list[float]]


class ServedModel(BaseModel):
    """A served encoder."""

    name: str
    dimension: int
    documents: int | None = Field(description="Number of documents in its index; null without an index.")
    incomplete: str | None = Field(default=None, description="Why documents of its index may be missing, or null.")


class ModelsAnswer(BaseModel):
    """The encoders, the default one first, and the metadata fields of their indexes."""

    models: list[ServedModel]
    fields: list[str]


class MapPoint(BaseModel):
    """A document on the map."""

    id: str
    x: float
    y: float
    text: str
    metadata: dict[str, Any]


class MapCluster(BaseModel):
    """A region of the map, named by typical words of its documents."""

    name: str
    x: float
    y: float
    documents: int = Field(description="Number of documents on the map in this region.")


class MapAnswer(BaseModel):
    """Documents on a plane, with similar documents close together."""

    points: list[MapPoint]
    documents: int = Field(description="Number of documents in the index, of which the points are a sample.")
    clusters: list[MapCluster]
    fields: list[str]
    method: str
    incomplete: str | None = Field(default=None, description="Why documents may be missing; null if none are.")


class MapProgress(BaseModel):
    """How far a map is computed."""

    share: float = Field(description="Share of the computation that is done, from 0 to 1.")


class FacetsRequest(Body):
    """A filter whose documents are counted."""

    where: dict[str, Any] | None = Field(
        default=None, description="Conditions on the metadata by field, as in `/search`."
    )
    model: str | None = Field(default=None, description="Name from /models; the first by default.")


class FieldFacet(BaseModel):
    """The values of a metadata field."""

    name: str
    kind: Literal["text", "whole numbers", "numbers", "true or false", "dates"]
    values: list[tuple[str | int | float | bool, int]] = Field(
        description="The most frequent values, each with its number of documents."
    )
    different: int = Field(description="Number of different values.")
    minimum: str | int | float | None = Field(default=None, description="Smallest number or date.")
    maximum: str | int | float | None = Field(default=None, description="Largest number or date.")


class FacetsAnswer(BaseModel):
    """The number of documents that fulfil a filter, and the values of the metadata fields."""

    documents: int
    fields: list[FieldFacet]


class ErrorDetail(BaseModel):
    """One sentence on what was wrong, and its type."""

    message: str
    type: str


class ErrorAnswer(BaseModel):
    """Body of every answer with status 4xx or 5xx."""

    error: ErrorDetail
