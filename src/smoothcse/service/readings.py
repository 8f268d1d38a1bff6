"""What a model is asked about texts. Texts of different requests with equal readings are processed together."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from transformers import PreTrainedTokenizerBase

from smoothcse._utils.choices import InputType
from smoothcse.encoders.inference import encode, token_counts
from smoothcse.encoders.prompts import prompt_of
from smoothcse.evaluation.maxsim import late_interaction_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

Side = Literal["left", "right"]
"""Where a text beyond the model's token limit is truncated."""


class Reading(Hashable, Protocol):
    """What a model is asked about texts."""

    def rows(self, model: Any, texts: list[str]) -> NDArray[np.float32]:
        """Return the answer of the model, one row per text."""

    def tokens(self, model: Any, texts: list[str]) -> NDArray[np.int64]:
        """Return the number of tokens that the model reads of each text, ``(n,)``."""


@dataclass(frozen=True)
class Embeddings:
    """The embeddings of texts.

    Attributes:
        input_type: Kind of text, see :func:`~smoothcse.encoders.inference.encode`.
        prompt: Text in front of each text.
        normalize: Whether the embeddings have length 1.
        side: Where long texts are truncated.
    """

    input_type: InputType | None = None
    prompt: str = ""
    normalize: bool = True
    side: Side = "right"

    @classmethod
    def of(
        cls,
        model: SentenceTransformer,
        input_type: InputType | None = None,
        prompt_name: str | None = None,
        *,
        normalize: bool = True,
        side: Side = "right",
    ) -> Embeddings:
        """Choose the prompt of a model by the kind of text or by its name, see :mod:`smoothcse.encoders.prompts`.

        Raises:
            SmoothCSEError: If the model has no prompt with this name.
        """
        return cls(input_type, prompt_of(model, input_type, prompt_name=prompt_name), normalize, side)

    def rows(self, model: SentenceTransformer, texts: list[str]) -> NDArray[np.float32]:
        """Return the embeddings, ``(n, d)``."""
        with truncating(model.tokenizer, self.side):
            return encode(model, texts, input_type=self.input_type, prompt=self.prompt, normalize=self.normalize)

    def tokens(self, model: SentenceTransformer, texts: list[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each text with its prompt, ``(n,)``."""
        return token_counts(model, texts, self.prompt)


@dataclass(frozen=True)
class LateInteraction:
    """The late interaction (MaxSim) of documents with a query.

    Attributes:
        query: The query.
        side: Where long texts are truncated.
    """

    query: str
    side: Side = "right"

    def rows(self, model: SentenceTransformer, texts: list[str]) -> NDArray[np.float32]:
        """Return the late interaction of each document, ``(n,)``."""
        with truncating(model.tokenizer, self.side):
            return late_interaction_of(model, self.query, texts)

    def tokens(self, model: SentenceTransformer, texts: list[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each document with its prompt, ``(n,)``."""
        return token_counts(model, texts, prompt_of(model, "document"))


@contextmanager
def truncating(tokenizer: Any, side: Side) -> Iterator[None]:
    """Truncate long texts at a side; only the thread that owns the model may do this.

    Args:
        tokenizer: Tokenizer of the model. Those that do not truncate are left as they are.
        side: Side that is cut off.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        yield
        return
    before, tokenizer.truncation_side = tokenizer.truncation_side, side
    try:
        yield
    finally:
        tokenizer.truncation_side = before
