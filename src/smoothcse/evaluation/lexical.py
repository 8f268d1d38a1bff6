"""Words of a text for BM25: split by script, reduced to stems where the language has a stemmer.

Most scripts separate words by spaces or punctuation. Chinese, Japanese, Thai, Lao, Khmer and Burmese do not, and
Korean attaches particles to its words; text in these scripts is split into overlapping pairs of characters, as in
Lucene's analyzer for Chinese, Japanese and Korean.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import Any

import regex
import Stemmer

from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.evaluation.bm25s_import import stopwords

_STOP_WORDS: dict[str, frozenset[str]] = {
    "danish": frozenset(stopwords.STOPWORDS_DANISH),
    "dutch": frozenset(stopwords.STOPWORDS_DUTCH),
    "english": frozenset(stopwords.STOPWORDS_EN),
    "french": frozenset(stopwords.STOPWORDS_FRENCH),
    "german": frozenset(stopwords.STOPWORDS_GERMAN),
    "italian": frozenset(stopwords.STOPWORDS_ITALIAN),
    "norwegian": frozenset(stopwords.STOPWORDS_NORWEGIAN),
    "portuguese": frozenset(stopwords.STOPWORDS_PORTUGUESE),
    "russian": frozenset(stopwords.STOPWORDS_RUSSIAN),
    "spanish": frozenset(stopwords.STOPWORDS_SPANISH),
    "swedish": frozenset(stopwords.STOPWORDS_SWEDISH),
    "turkish": frozenset(stopwords.STOPWORDS_TURKISH),
}

LANGUAGES = tuple(_STOP_WORDS)
"""Languages with a stemmer (Snowball) and a list of stop words."""

NO_LANGUAGE = "none"
"""Any other language: whole words, without stemmer and stop words."""

_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_TOKEN = regex.compile(rf"(?P<run>{_UNSPACED}+)|[[\w\p{{M}}]--{_UNSPACED}]+", regex.V1)
_CHARACTER = regex.compile(r"\X")
_UNIT = regex.compile(rf"{_UNSPACED}\p{{M}}*|[\S--{_UNSPACED}]+", regex.V1)

_DETECTION_TEXTS = 2000
_DETECTION_SHARE = 0.1  # of all words; running text has 20 to 50 % stop words of its own language


class Words:
    """Function from texts to their words, for one language.

    Args:
        language: One of :data:`LANGUAGES`, or :data:`NO_LANGUAGE`.

    Raises:
        SmoothCSEError: If the language is unknown.
    """

    def __init__(self, language: str) -> None:
        known = (*LANGUAGES, NO_LANGUAGE)
        if language not in known:
            raise SmoothCSEError(
                f"There is no stemmer for the language {language!r}; choose from {', '.join(known)}."
                f"{did_you_mean(language, known)}"
            )
        self.language = language

    def __call__(self, text: str) -> list[str]:
        """Return the words of a text in their order, without stop words."""
        stop_words = stop_words_of(self.language)
        words = [word for word in split_words(text) if word not in stop_words]
        return self._stemmer.stemWords(words) if self._stemmer else words

    @cached_property
    def _stemmer(self) -> Any:
        return None if self.language == NO_LANGUAGE else Stemmer.Stemmer(self.language)


def stop_words_of(language: str | None) -> frozenset[str]:
    """Return the stop words of a language, or none for an unknown one."""
    return _STOP_WORDS.get(language or NO_LANGUAGE, frozenset())


def split_words(text: str) -> list[str]:
    """Split a text into words in lower case, and into pairs of characters where the script has no spaces.

    >>> split_words("The C API: ｆｏｏ_bar, 東京都")
    ['the', 'c', 'api', 'foo_bar', '東京', '京都']
    """
    return list(_split(unicodedata.normalize("NFKC", text).casefold()))


def _split(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        if match["run"] is None:
            yield match[0]
        else:
            characters = _CHARACTER.findall(match[0])
            yield from map("".join, pairwise(characters)) if len(characters) > 1 else characters


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return start and end of each word with its punctuation.

    In scripts without spaces, a character with its marks is a word.

    >>> word_spans("a cat. 東京")
    [(0, 1), (2, 6), (7, 8), (8, 9)]
    """
    return [match.span() for match in _UNIT.finditer(text)]


def detect_language(texts: Iterable[str]) -> str:
    """Return the language whose stop words make up the largest share of the words, or :data:`NO_LANGUAGE`.

    Args:
        texts: Texts; the first 2,000 are read. Mixed languages count as the most frequent one.

    >>> detect_language(["The cat sat on the mat."])
    'english'
    """
    words: Sequence[str] = [word for text in islice(texts, _DETECTION_TEXTS) for word in split_words(text)]
    counts = {language: sum(word in known for word in words) for language, known in _STOP_WORDS.items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] > _DETECTION_SHARE * len(words) else NO_LANGUAGE
