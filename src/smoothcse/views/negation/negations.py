"""Negation of all sentences of a corpus, by spaCy or by rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from smoothcse.errors import SmoothCSEError
from smoothcse.views.further import FurtherTexts
from smoothcse.views.negation.parsed import negate_parsed
from smoothcse.views.negation.rules import negate_by_rules
from smoothcse.views.negation.spacy_parser import load_parser

if TYPE_CHECKING:
    from datasets import Dataset

NegationBy = Literal["auto", "spacy", "rules"]

COLUMN = "negation"
_AT_A_TIME = 1000


def negations(sentences: Dataset, by: NegationBy = "auto", pipeline: str = "en_core_web_sm") -> FurtherTexts:
    """Negate each sentence, and return the negations as an additional column.

    Args:
        sentences: Dataset with the column ``sentence``, in English.
        by: ``"spacy"`` for :func:`~smoothcse.views.negation.parsed.negate_parsed`; ``"rules"`` for
            :func:`~smoothcse.views.negation.rules.negate_by_rules`, which uses word lists without grammar; ``"auto"``
            for spaCy if it is installed, otherwise rules. The note records the choice.
        pipeline: Name of an installed spaCy pipeline.

    Raises:
        SmoothCSEError: If ``by`` is ``"spacy"``, and spaCy or its pipeline is not installed.
    """
    if by == "rules":
        return _by_rules(sentences, "Requested by negation=rules.")
    try:
        parser = load_parser(pipeline)
    except SmoothCSEError as error:
        if by == "spacy":
            raise
        return _by_rules(sentences, str(error))
    return FurtherTexts(
        (COLUMN,),
        _batches(sentences, lambda texts: [negate_parsed(document) for document in parser.pipe(texts)]),
        f"negated by the dependency parses of spaCy's {pipeline}",
    )


def _by_rules(sentences: Dataset, why: str) -> FurtherTexts:
    batches = _batches(sentences, lambda texts: [negate_by_rules(text) for text in texts])
    return FurtherTexts((COLUMN,), batches, f"negated by word lists, a substitute for a parser. {why}")


def _batches(sentences: Dataset, negate: Callable[[list[str]], list[str]]) -> Iterator[Sequence[list[str]]]:
    for batch in sentences.iter(_AT_A_TIME):
        yield [negate(batch["sentence"])]
