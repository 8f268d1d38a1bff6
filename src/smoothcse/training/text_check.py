"""Check how well a tokenizer covers the text: tokens per word, unknown tokens, truncation, and duplicates after it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from smoothcse.corpus import Corpus
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.lexical import word_spans
from smoothcse.training.warnings import Warnings
from smoothcse.views.collator import view_prompts
from smoothcse.views.mixture import TextViews
from smoothcse.views.sentence import count_sentences

_SAMPLE = 5000
_MUCH_TRUNCATED = 0.5
_MANY_SINGLE = 0.3
_MANY_DUPLICATES = 0.01
_MANY_UNKNOWN, _MOSTLY_UNKNOWN = 0.05, 0.5


@dataclass(frozen=True)
class TextCheck:
    """Coverage of a sample of the text by a tokenizer. All figures but the fertility are shares between 0 and 1.

    Older run folders record ``truncated`` as ``cut`` and ``duplicates`` as ``twins``.

    Attributes:
        unknown: Share of the tokens that are not in the vocabulary.
        truncated: Share of the tokens beyond the length limit.
        duplicates: Share of the sentences that are duplicates of another one of the sample after truncation. In a
            batch they are each other's negatives. For pairs, the larger share of the two columns.
        truncated_texts: Share of the texts with tokens beyond the length limit.
        fertility: Tokens per word, special tokens not counted. A character of a script without spaces is a word.
    """

    unknown: float
    truncated: float
    duplicates: float
    truncated_texts: float = 0.0
    fertility: float = 0.0


def check_text(
    model: SentenceTransformer,
    corpus: Corpus,
    max_length: int,
    seed: int = 0,
    views: TextViews | None = None,
    generated: bool = False,
) -> TextCheck:
    """Tokenise a sample of up to 5,000 rows and measure its coverage.

    Args:
        model: Encoder. Without a Hugging Face tokenizer, all figures are 0.
        corpus: Training corpus.
        max_length: Tokens per sentence in training.
        seed: Seed of the sample.
        views: Views drawn from the text, which are tokenised in its place; None for the text itself.
        generated: Whether the method has generated all columns but the first. They may repeat texts.
    """
    if not callable(tokenizer := model.tokenizer):
        return TextCheck(0.0, 0.0, 0.0)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(corpus))[:_SAMPLE])
    texts = list(corpus.dataset[chosen].values() if views is None else views.draw(chosen.tolist(), epoch=0))
    columns = [_token_ids(tokenizer, column) for column in texts]
    ids = [row for column in columns for row in column]
    judged = columns[:1] if generated else columns[:2]
    total = sum(map(len, ids))
    prompts = [prompt_of(model)] if views is None else view_prompts(model, views.weights)
    longest = max_length - tokenizer.num_special_tokens_to_add() - max(map(len, _token_ids(tokenizer, prompts)))
    return TextCheck(
        unknown=sum(row.count(tokenizer.unk_token_id) for row in ids) / max(total, 1),
        truncated=1 - sum(len(row[:longest]) for row in ids) / max(total, 1),
        duplicates=max(_duplicates([tuple(row[:longest]) for row in column]) for column in judged),
        truncated_texts=sum(len(row) > longest for row in ids) / max(len(ids), 1),
        fertility=total / max(_count_words(texts), 1),
    )


def warn_about_text(check: TextCheck, model_name: str, max_length: int, warnings: Warnings) -> None:
    """Warn about poor coverage.

    Args:
        check: Result of the check.
        model_name: Name of the model, for the messages.
        max_length: Tokens per sentence in training.
        warnings: Warnings of the run.

    Raises:
        SmoothCSEError: If at least half of the tokens are unknown, so that training is pointless.
    """
    if check.unknown >= _MOSTLY_UNKNOWN:
        raise SmoothCSEError(
            f"{check.unknown:.0%} of the text's tokens are unknown to the tokenizer of {model_name}, so the "
            "encoder cannot learn from it; choose a model for the language and script of the text."
        )
    if check.unknown >= _MANY_UNKNOWN:
        warnings.warn(
            f"{check.unknown:.0%} of the text's tokens are unknown to the tokenizer of {model_name}: sentences that "
            "differ only in these tokens get the same embedding. Use a model for the language and domain of the text."
        )
    if check.truncated >= _MUCH_TRUNCATED:
        warnings.warn(
            f"max_length {max_length} truncates {check.truncated:.0%} of the text; raise max_length, or split "
            "paragraphs into one sentence per line."
        )
    if check.duplicates >= _MANY_DUPLICATES:
        warnings.warn(
            f"{check.duplicates:.1%} of the sentences are duplicates after truncation to {max_length} tokens and act "
            "as each other's negatives in a batch; raise max_length, or remove near-duplicates from the text."
        )


def warn_about_views(views: TextViews, warnings: Warnings) -> None:
    """Warn if many texts have a single sentence, whose two views differ by dropout only.

    Args:
        views: Views drawn from the text.
        warnings: Warnings of the run.

    Raises:
        SmoothCSEError: If no text has two sentences.
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
        warnings.warn(
            f"{single:.0%} of the texts have a single sentence, so that the view 'sentence' is the text twice, under "
            "dropout; give one passage a line."
        )


def _count_words(columns: list[list[str]]) -> int:
    return sum(len(word_spans(text)) for column in columns for text in column)


def _duplicates(rows: list[tuple[int, ...]]) -> float:
    return sum(count for count in Counter(rows).values() if count > 1) / len(rows)


def _token_ids(tokenizer: Any, sentences: list[str]) -> list[list[int]]:
    encoded = tokenizer(
        sentences,
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,  # no warning for each text longer than the model's limit
    )
    return encoded["input_ids"]  # type: ignore[no-any-return]
