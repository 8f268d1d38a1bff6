"""A sentence of a passage against the rest of it (the inverse cloze task: Lee et al., ACL 2019)."""

from __future__ import annotations

from random import Random

from sentencex import segment

from smoothcse.views.row_random import below


def sentence_and_rest(text: str, random: Random, *, language: str = "en") -> tuple[str, str]:
    """Draw a sentence of a passage, and return it with the rest.

    Args:
        text: Passage.
        random: Random generator.
        language: ISO 639 code of the language, whose abbreviations end no sentence.

    Returns:
        The sentence, and the passage without it. A passage of a single sentence is returned twice.
    """
    pieces = _pieces(text, language)
    sentences = [place for place, piece in enumerate(pieces) if piece.strip()]
    if len(sentences) < 2:
        return text, text
    chosen = sentences[below(random, len(sentences))]
    rest = "".join(pieces[:chosen] + pieces[chosen + 1 :])
    return pieces[chosen].strip(), rest.strip()


def count_sentences(text: str, *, language: str = "en") -> int:
    """Return the number of sentences of a passage.

    Args:
        text: Passage.
        language: ISO 639 code of the language.
    """
    return sum(1 for piece in _pieces(text, language) if piece.strip())


def _pieces(text: str, language: str) -> list[str]:
    """Split a text at the ends of its sentences; the pieces together are the text."""
    return list(segment(language, text))
