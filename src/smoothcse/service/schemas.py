"""Bodies of requests and answers, which are also the service's documentation."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from smoothcse import __version__


def _text_alone(value: Any) -> Any:
    """Tell those who send token numbers, as OpenAI's API allows, what to do instead."""
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(entry, str) for entry in value)):
        return value
    raise PydanticCustomError(
        "text",
        "must be a text or a list of texts, and not token numbers, which mean nothing to another model "
        "(in LangChain set check_embedding_ctx_length=False)",
    )


UNUSABLE = "unusable"
"""Type of the error that a body with values nobody can work with gets."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _can_be_written(cls, body: Any) -> Any:
        """Refuse what JSON can spell and nothing behind this can write."""
        if not isinstance(body, dict):  # bytes, for one, of another content type; that is told after this
            return body
        try:
            json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            message = "A text of the body holds half a character (one surrogate of a pair); mend its encoding."
            raise PydanticCustomError(UNUSABLE, message) from error
        except RecursionError as error:
            raise PydanticCustomError(UNUSABLE, "The body is nested too deeply.") from error
        return body


_OTHER_PROMPTS = ("prompt", "instruction", "task", "task_type")


class EmbeddingRequest(_Body):
    """As OpenAI's API has it; ``user`` and other fields that change no embedding are accepted and ignored."""

    model_config = ConfigDict(extra="ignore")

    input: Annotated[str | list[str], BeforeValidator(_text_alone)] = Field(description="A text, or several.")
    model: str | None = Field(default=None, description="A name from /models; the first by default.")
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="`base64`: of little-endian float32, a quarter of the size."
    )
    dimensions: int | None = Field(
        default=None, ge=1, description="Keep the first so many, scaled to length 1 again; for models trained for it."
    )
    input_type: Literal["query", "document"] | None = Field(
        default=None, description="Use the model's prompt for queries or for documents instead of its default prompt."
    )
    prompt_name: str | None = Field(default=None, description="Use this prompt of the model instead.")

    @model_validator(mode="before")
    @classmethod
    def _asks_for_no_other_prompt(cls, body: Any) -> Any:
        """Refuse what other servers understand and what would change the embeddings."""
        for name in _OTHER_PROMPTS:
            if isinstance(body, dict) and body.get(name) is not None:
                message = f"The field {name} is not supported; choose a prompt with input_type or prompt_name."
                raise PydanticCustomError(UNUSABLE, message)
        return body


class Embedding(BaseModel):
    """One embedding."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens that the model was given; texts beyond its limit are cut."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """Embeddings of length 1, in the order of the input."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class OpenAIModel(BaseModel):
    """An encoder, as OpenAI's API has it."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = f"smoothcse {__version__}"


class OpenAIModels(BaseModel):
    """The encoders, as OpenAI's API has them."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


class SearchRequest(_Body):
    """A query of an index."""

    query: str
    k: int = Field(default=10, ge=1, description="Documents at most.")
    where: dict[str, Any] | None = Field(
        default=None,
        description="Conditions on the metadata, all of which must hold: a value, a list of values, or a comparison "
        "(`gte`, `gt`, `lte`, `lt`, `ne`).",
        examples=[{"year": {"gte": 2020}, "source": ["a", "b"]}],
    )
    model: str | None = Field(default=None, description="A name from /models; the first by default.")


class FoundDocument(BaseModel):
    """A document and its cosine similarity."""

    id: str
    text: str
    score: float
    metadata: dict[str, Any]


class SearchAnswer(BaseModel):
    """The most similar documents first."""

    results: list[FoundDocument]
    milliseconds: float
    incomplete: str | None = Field(default=None, description="Why documents may be missing; null if none are.")


class SimilarityRequest(_Body):
    """Two lists of texts; without the second, the first is compared with itself."""

    a: list[str]
    b: list[str] | None = None
    model: str | None = Field(default=None, description="A name from /models; the first by default.")


class SimilarityAnswer(BaseModel):
    """Cosine similarities, a row per text of ``a``."""

    scores: list[list[float]]


class ServedModel(BaseModel):
    """An encoder that is served."""

    name: str
    dimension: int
    documents: int | None = Field(description="Of its index; null without one.")
    incomplete: str | None = Field(default=None, description="Why documents of its index may be missing, or null.")


class ModelsAnswer(BaseModel):
    """The encoders, the default one first, and the metadata of their indexes."""

    models: list[ServedModel]
    fields: list[str]


class MapPoint(BaseModel):
    """A document on the map."""

    id: str
    x: float
    y: float
    text: str
    metadata: dict[str, Any]


class MapAnswer(BaseModel):
    """Documents on a plane, those of like meaning close together."""

    points: list[MapPoint]
    fields: list[str]
    method: str
    incomplete: str | None = Field(default=None, description="Why documents may be missing; null if none are.")


class Problem(BaseModel):
    """What was wrong, in a sentence."""

    message: str
    type: str


class ErrorAnswer(BaseModel):
    """Every answer with a status of 4xx or 5xx."""

    error: Problem
