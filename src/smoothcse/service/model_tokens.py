"""The tokenizer of a model, for requests about tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from smoothcse.errors import SmoothCSEError
from smoothcse.service.request_inputs import TokenIds

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from tokenizers import Encoding


class ModelTokens:
    """A copy of a model's tokenizer without truncation and padding, which the model's own thread changes.

    Args:
        model: Model with a fast tokenizer.

    Raises:
        SmoothCSEError: If its tokenizer is not a fast one.
    """

    def __init__(self, model: SentenceTransformer | CrossEncoder) -> None:
        own = model.tokenizer
        backend = own if isinstance(own, Tokenizer) else getattr(own, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise SmoothCSEError(
                "The model has no fast tokenizer, which requests about tokens need; send plain texts."
            )
        self._tokenizer = Tokenizer.from_str(backend.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def encode(self, texts: Sequence[str], *, special: bool = True) -> list[Encoding]:
        """Return the tokens of each text, of any length.

        Args:
            texts: ``n`` texts.
            special: Whether to add the special tokens that the model expects.
        """
        return list(self._tokenizer.encode_batch(list(texts), add_special_tokens=special))

    def counts(self, texts: Sequence[str | tuple[str, str]]) -> list[int]:
        """Return the number of tokens of each text or pair of texts, special ones included."""
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    def decode(self, rows: Sequence[TokenIds], *, skip_special: bool = True) -> list[str]:
        """Return the text of each list of ids.

        Args:
            rows: Token ids of each text.
            skip_special: Whether to leave out special tokens.

        Raises:
            SmoothCSEError: If the tokenizer has no token with one of the ids.
        """
        size = self._tokenizer.get_vocab_size()
        unknown = next((id for ids in rows for id in ids if not 0 <= id < size), None)
        if unknown is not None:
            raise SmoothCSEError(
                f"The model's tokenizer has no token with the id {unknown}; its ids are below {size}."
            )
        return list(self._tokenizer.decode_batch([list(ids) for ids in rows], skip_special_tokens=skip_special))
