"""Bodies of OpenAI's API."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from smoothcse import __version__
from smoothcse.service.request_inputs import Input
from smoothcse.service.schemas import UNUSABLE, Body

_OTHER_PROMPTS = ("prompt", "instruction", "task", "task_type")


class EmbeddingRequest(Body):
    """Embedding request of OpenAI's API; ``user`` and other fields without effect on embeddings are ignored."""

    model_config = ConfigDict(extra="ignore")

    input: Input = Field(description="One text or several, or the token ids of one text or several.")
    model: str | None = Field(default=None, description="Name from /models; the first by default.")
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="`base64` is little-endian float32, at a quarter of the size."
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        description="Number of leading dimensions to keep, scaled to length 1 again; for models trained for it.",
    )
    input_type: Literal["query", "document"] | None = Field(
        default=None, description="Use the model's prompt for queries or for documents instead of its default prompt."
    )
    prompt_name: str | None = Field(default=None, description="Name of a prompt of the model to use instead.")

    @model_validator(mode="before")
    @classmethod
    def _asks_for_no_other_prompt(cls, body: Any) -> Any:
        """Refuse fields of other servers that would change the embeddings."""
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
    """Tokens that the model processed; texts beyond its limit are truncated."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingAnswer(BaseModel):
    """Embeddings of length 1, in input order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class OpenAIModel(BaseModel):
    """An encoder, in the form of OpenAI's API."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = f"smoothcse {__version__}"


class OpenAIModels(BaseModel):
    """The encoders, in the form of OpenAI's API."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]
