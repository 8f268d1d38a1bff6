"""Bodies of text-embeddings-inference."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from smoothcse.service.readings import Side
from smoothcse.service.request_inputs import Input, TokenIds
from smoothcse.service.schemas import OWN_FORM, TEI_FORM, Body, SimilarityRequest

_Side = Annotated[Side, BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)]


class TeiOptions(Body):
    """Options of most requests; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore")

    truncate: bool | None = Field(
        default=None, description="False refuses texts beyond the model's token limit; they are truncated by default."
    )
    truncation_direction: _Side = Field(default="right", description="Side that is cut off.")
    model: str | None = Field(default=None, description="Name from /models; the first by default.")


class TeiEmbedRequest(TeiOptions):
    """Texts to embed."""

    inputs: Input = Field(description="One text or several, or token ids of the model's tokenizer.")
    normalize: bool = Field(default=True, description="Whether the embeddings have length 1.")
    prompt_name: str | None = Field(default=None, description="Name of a prompt of the model.")
    dimensions: int | None = Field(default=None, ge=1, description="Number of leading dimensions to keep.")


class TeiSimilarityInputs(Body):
    """A text and those to compare it with."""

    source_sentence: str
    sentences: list[str]


class TeiSimilarityParameters(TeiOptions):
    """Options of a comparison."""

    prompt_name: str | None = Field(default=None, description="Name of a prompt of the model.")


class TeiSimilarityRequest(Body):
    """A comparison and its options."""

    model_config = ConfigDict(extra="ignore")

    inputs: TeiSimilarityInputs
    parameters: TeiSimilarityParameters | None = None


def _form(body: Any) -> str:
    return TEI_FORM if "inputs" in (body if isinstance(body, dict) else {}) else OWN_FORM


AnySimilarityRequest = Annotated[
    Annotated[SimilarityRequest, Tag(OWN_FORM)] | Annotated[TeiSimilarityRequest, Tag(TEI_FORM)], Discriminator(_form)
]
"""A body with ``a`` and ``b``, or with ``inputs``."""


class TeiTokenizeRequest(Body):
    """Texts to split into tokens."""

    model_config = ConfigDict(extra="ignore")

    inputs: str | list[str] = Field(description="One text or several.")
    add_special_tokens: bool = Field(default=True, description="Whether to add the special tokens of the model.")
    prompt_name: str | None = Field(default=None, description="Name of a prompt of the model.")
    model: str | None = Field(default=None, description="Name from /models; the first by default.")


class TeiToken(BaseModel):
    """A token; ``start`` and ``stop`` are characters of the text, null for special tokens."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class TeiDecodeRequest(Body):
    """Token ids to turn into text."""

    model_config = ConfigDict(extra="ignore")

    ids: TokenIds | list[TokenIds]
    skip_special_tokens: bool = Field(default=True, description="Whether to leave out special tokens.")
    model: str | None = Field(default=None, description="Name from /models; the first by default.")


class TeiInfo(BaseModel):
    """The default encoder and the limits of the service."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    model_sha: str | None = None
    model_dtype: str
    model_type: dict[str, dict[str, Any]]
    max_concurrent_requests: int
    max_input_length: int | None
    max_batch_tokens: int
    max_batch_requests: int | None = None
    max_client_batch_size: int
    auto_truncate: bool = True
    tokenization_workers: int = 1
    version: str
    sha: str | None = None
    docker_label: str | None = None
