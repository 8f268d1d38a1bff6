"""Check how the tokenizer of an encoder handles a sample of the text, before the first step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from smoothcse.corpus import Corpus
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError
from smoothcse.training.warnings import Notices
from smoothcse.views.mixture import TextViews
from smoothcse.views.sentence import count_sentences

_SAMPLE = 5000
_MUCH_CUT = 0.5
_MANY_SINGLE = 0.3
_MANY_TWINS = 0.01
_MANY_UNKNOWN, _MOSTLY_UNKNOWN = 0.05, 0.5


@dataclass(frozen=True)
class TextCheck:
    """Result of tokenising a sample of the text; all figures are shares between 0 and 1.

    Attributes:
        unknown: Share of the tokens that are not in the vocabulary.
        cut: Share of the tokens beyond the length limit.
        twins: Share of the sentences that, after truncation, equal another sentence of the sample. They are each
            other's negatives wherever they meet in a batch. Of two columns, the larger share.
    """

    unknown: float
    cut: float
    twins: float


def check_text(
    model: SentenceTransformer, corpus: Corpus, max_length: int, seed: int = 0, views: TextViews | None = None
) -> TextCheck:
    """Tokenise up to 5,000 rows.

    Args:
        model: Encoder whose tokenizer is used. A tokenizer that is not callable gives zeros.
        corpus: Corpus to sample.
        max_length: Tokens per sentence in training.
        seed: Seed of the sample.
        views: Views drawn from the text, which are then what is tokenised; None for the text itself.
    """
    if not callable(tokenizer := model.tokenizer):
        return TextCheck(0.0, 0.0, 0.0)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(corpus))[:_SAMPLE])
    texts = corpus.dataset[chosen].values() if views is None else views.draw(chosen.tolist(), epoch=0)
    columns = [_token_ids(tokenizer, column) for column in texts]
    ids = [row for column in columns for row in column]
    total = sum(map(len, ids))
    [prompt] = _token_ids(tokenizer, [prompt_of(model)])
    longest = max_length - tokenizer.num_special_tokens_to_add() - len(prompt)
    return TextCheck(
        unknown=sum(row.count(tokenizer.unk_token_id) for row in ids) / max(total, 1),
        cut=1 - sum(len(row[:longest]) for row in ids) / max(total, 1),
        twins=max(_twins([tuple(row[:longest]) for row in column]) for column in columns[:2]),
    )


def warn_of_text(check: TextCheck, model_name: str, max_length: int, notices: Notices) -> None:
    """Warn of what harms the training, and say what to do.

    Raises:
        SmoothCSEError: Most of the text is unknown to the model, so that training on it is pointless.
    """
    if check.unknown >= _MOSTLY_UNKNOWN:
        raise SmoothCSEError(
            f"{check.unknown:.0%} of the text's tokens are unknown to the tokenizer of {model_name}, so there is "
            "nothing to learn from; choose a model for the language and script of the text."
        )
    if check.unknown >= _MANY_UNKNOWN:
        notices.warn(
            f"{check.unknown:.0%} of the text's tokens are unknown to the tokenizer of {model_name}: sentences that "
            "differ in them only are the same to it. A model for this language or field would see more."
        )
    if check.cut >= _MUCH_CUT:
        notices.warn(
            f"max_length {max_length} cuts away {check.cut:.0%} of the text; raise max_length, or give one sentence a "
            "line instead of paragraphs."
        )
    if check.twins >= _MANY_TWINS:
        notices.warn(
            f"{check.twins:.1%} of the sentences are, once cut to {max_length} tokens, the same as another one, and "
            "will be pushed away from it as a negative; raise max_length or thin out the text."
        )


def warn_of_views(views: TextViews, notices: Notices) -> None:
    """Warn if many texts have a single sentence, whose two views are equal but for dropout.

    Raises:
        SmoothCSEError: No text has two sentences.
    """
    if "sentence" not in views.weights:
        return
    texts = views.dataset[:_SAMPLE]["sentence"]
    single = sum(count_sentences(text, language=views.language) < 2 for text in texts) / len(texts)
    if single == 1:
        raise SmoothCSEError(
            "views: sentence needs passages, but each text has a single sentence; give one passage a line, or choose "
            "other views."
        )
    if single >= _MANY_SINGLE:
        notices.warn(
            f"{single:.0%} of the texts have a single sentence, so that the view 'sentence' is the text twice, under "
            "dropout; give one passage a line."
        )


def _twins(rows: list[tuple[int, ...]]) -> float:
    return sum(count for count in Counter(rows).values() if count > 1) / len(rows)


def _token_ids(tokenizer: Any, sentences: list[str]) -> list[list[int]]:
    encoded = tokenizer(
        sentences,
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # it would warn of each text beyond the model's positions
    )
    return encoded["input_ids"]  # type: ignore[no-any-return]
