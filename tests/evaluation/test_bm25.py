from __future__ import annotations

from itertools import pairwise
from math import log

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.lexical import Words, detect_language, split_words, word_spans

TEXTS = st.lists(st.lists(st.sampled_from("abcdefg"), max_size=6).map(" ".join), min_size=1, max_size=6)


def naive_bm25(queries, documents, k1=1.2, b=0.75):
    words = [document.split() for document in documents]
    mean = sum(map(len, words)) / len(words)

    def score(query, document):
        total = 0.0
        for word in query.split():
            having = sum(word in other for other in words)
            often = document.count(word)
            if often:
                idf = log(1 + (len(words) - having + 0.5) / (having + 0.5))
                total += idf * often / (often + k1 * (1 - b + b * len(document) / mean))
        return total

    return [[score(query, document) for document in words] for query in queries]


@given(TEXTS, TEXTS)
def test_scores_are_those_of_the_formula(queries, documents):
    scores = BM25(documents, "none").scores(queries)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, naive_bm25(queries, documents), rtol=1e-4, atol=1e-6)


@given(TEXTS, TEXTS, st.integers(1, 7))
def test_blocks_are_the_scores_of_consecutive_queries(queries, documents, rows):
    index = BM25(documents, "none")
    blocks = list(index.blocks(queries, rows))
    assert all(len(block) == rows for block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate(blocks), index.scores(queries))


@pytest.mark.parametrize("documents", [["", "  "], ["...", "the of"], [""]])
def test_documents_without_a_word_score_zero(documents):
    assert BM25(documents, "english").scores(["the cat", ""]).tolist() == [[0.0] * len(documents)] * 2


def test_inflected_words_match_where_the_language_has_a_stemmer():
    documents = ["Files are opened for reading by this function.", "It closes the connection of a server."]
    english = BM25(documents)
    assert english.language == "english"
    [[first, second]] = english.scores(["open the file to read"])
    assert first > 0
    assert second == 0
    assert BM25(documents, "none").scores(["open file"]).tolist() == [[0.0, 0.0]]


def test_the_scores_do_not_depend_on_the_hash_seed_of_python():
    # bm25s numbers words in the order of a set; ours are numbered as they occur.
    index = BM25(["b a", "c b"], "none")
    assert index._number_of == {"b": 0, "a": 1, "c": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop", ["don", "t", "stop"]),
        ("C++ and os_path", ["c", "and", "os_path"]),
        ("ＡＢＣ ﬁle", ["abc", "file"]),  # compatibility forms
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # combining vowels belong to the word
        ("東京都 x", ["東京", "京都", "x"]),
        ("Python入門", ["python", "入門"]),
        ("猫", ["猫"]),
        ("データ", ["デー", "ータ"]),
        ("한국어", ["한국", "국어"]),
        ("!?", []),
    ],
)
def test_words_are_split_by_script(text, words):
    assert split_words(text) == words


def test_thai_is_split_into_pairs_of_characters_with_their_marks():
    assert split_words("ที่นี่") == ["ที่นี่"]
    assert "".join(split_words("ภาษาไทย")).startswith("ภา")


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("english", "The function returns the number of items that are in the list."),
        ("german", "Die Funktion gibt die Anzahl der Elemente zurück, die in der Liste sind."),
        ("french", "La fonction renvoie le nombre des éléments qui sont dans la liste."),
        ("spanish", "La función devuelve el número de elementos que hay en la lista y no los ordena."),
        ("italian", "La funzione restituisce il numero degli elementi che sono nella lista e non li ordina."),
        ("portuguese", "A função devolve o número de elementos que estão na lista e não os ordena."),
        ("dutch", "De functie geeft het aantal van de elementen terug die in de lijst zijn."),
        ("swedish", "Funktionen returnerar antalet element som är i listan och som inte har någon ordning."),
        ("russian", "Функция возвращает число элементов, которые есть в списке, и не меняет их."),
        ("none", "関数はリストの要素の数を返します。"),
        ("none", "Funktio palauttaa listan alkioiden lukumäärän."),
        ("none", ""),
    ],
)
def test_the_language_is_detected_by_its_stop_words(language, text):
    assert detect_language([text]) == language


def test_stop_words_are_left_out():
    assert Words("english")("The cat is on the mats") == ["cat", "mat"]
    assert Words("none")("The cat") == ["the", "cat"]


def test_an_unknown_language_is_refused():
    with pytest.raises(SmoothCSEError, match=r"'englisch'.*Did you mean 'english'\?"):
        BM25(["a"], "englisch")


@given(st.text())
def test_word_spans_cover_everything_but_white_space(text):
    spans = word_spans(text)
    assert all(start < end for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert "".join(text[start:end] for start, end in spans) == regex.sub(r"\s", "", text)


def test_a_character_of_a_script_without_spaces_is_a_word():
    assert [("a 東京.")[start:end] for start, end in word_spans("a 東京.")] == ["a", "東", "京", "."]
