"""Cross-encoders, which read a query and a text together and score the pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch.nn import Identity

from smoothcse.encoders.length import length_limit
from smoothcse.encoders.pretrained import read_config
from smoothcse.encoders.safety import SAFE_WEIGHTS
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.service.readings import Side, truncating
from smoothcse.service.served import Reranker

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder

_PAIRS_AT_A_TIME = 32


@dataclass(frozen=True)
class Logits:
    """The scores that a cross-encoder gives to texts with a query, before the sigmoid function.

    Attributes:
        query: The query.
        side: Where long pairs are truncated.
    """

    query: str
    side: Side = "right"

    def rows(self, model: CrossEncoder, texts: list[str]) -> NDArray[np.float32]:
        """Return the logit of each text, ``(n,)``."""
        with truncating(model.tokenizer, self.side):
            logits = model.predict(
                [(self.query, text) for text in texts],
                batch_size=_PAIRS_AT_A_TIME,
                activation_fn=Identity(),
                show_progress_bar=False,
            )
        return np.asarray(logits, dtype=np.float32)

    def tokens(self, model: CrossEncoder, texts: list[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each text with the query, ``(n,)``."""
        ids = model.tokenizer([self.query] * len(texts), texts, return_attention_mask=False)["input_ids"]
        return np.minimum([len(row) for row in ids], length_limit(model) or np.iinfo(np.int64).max)


def load_reranker(name: str, taken: Sequence[str]) -> Reranker:
    """Load a cross-encoder.

    Args:
        name: Model folder or Hub name.
        taken: Names of the encoders served beside it.

    Raises:
        SmoothCSEError: If the model cannot be found or read, or does not give one score per pair.
    """
    from sentence_transformers import CrossEncoder

    architectures = read_config(name).architectures or []
    if not any(each.endswith("ForSequenceClassification") for each in architectures):
        raise SmoothCSEError(
            f"The reranker {name} is not a cross-encoder, i.e. a model for sequence classification (its config.json "
            f"names {', '.join(architectures) or 'none'}); encoders rerank without --reranker."
        )
    try:
        model = CrossEncoder(name, model_kwargs=dict(SAFE_WEIGHTS), trust_remote_code=False)
    except Exception as error:  # each library that reads a damaged file raises its own class
        raise SmoothCSEError(f"The reranker {name} cannot be loaded: {first_line(error)}") from error
    if model.num_labels != 1:
        raise SmoothCSEError(f"The reranker {name} has {model.num_labels} outputs; give a model with one.")
    short = Path(name).name
    return Reranker(name if short in taken else short, model.float())  # fp32, also if saved in half precision
