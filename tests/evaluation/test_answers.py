from __future__ import annotations

import numpy as np
import pytest

from smoothcse.corpus.python_docs import Docstring
from smoothcse.evaluation import answers
from smoothcse.evaluation.answers import answer, search_documents


@pytest.fixture
def letters(monkeypatch):
    """Stands in for a model: the embedding of a text counts its letters."""

    def encode(model, sentences, **kwargs):
        counts = [[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in sentences]
        return np.array(counts, dtype=np.float32).reshape(len(sentences), 26)

    monkeypatch.setattr(answers, "encode", encode)


@pytest.mark.usefixtures("letters")
def test_search_returns_the_best_first():
    [[first, second]] = search_documents(None, ["ab"], ["zz", "abc", "ab"], k=2)
    assert first == (2, pytest.approx(1.0))
    assert second == (1, pytest.approx(2 / np.sqrt(6)))


@pytest.mark.usefixtures("letters")
def test_search_without_questions_or_documents_finds_nothing():
    assert search_documents(None, [], ["x"]) == []
    assert search_documents(None, ["x"], []) == [[]]
    assert search_documents(None, ["x"], ["x"], k=5) == [[(0, pytest.approx(1.0))]]


@pytest.mark.usefixtures("letters")
def test_equally_similar_documents_keep_their_order():
    assert [i for i, _ in search_documents(None, ["a"], ["b", "a", "aa", "c"], k=4)[0]] == [1, 2, 0, 3]


def test_answer_finds_the_docstring_for_a_question(minilm):
    from sentence_transformers import SentenceTransformer

    docstrings = [
        Docstring("time.sleep", "Delay execution for a given number of seconds.  It may be less."),
        Docstring("os.getcwd", "Return a string representing the current working directory."),
        Docstring("str.split", "Return a list of the substrings in the string."),
        Docstring("empty", ">>> 1 + 1"),
    ]
    model = SentenceTransformer(minilm, device="cpu")
    [[(name, sentence)]] = answer(model, ["How do I pause a program?"], docstrings)
    assert (name, sentence) == ("time.sleep", "Delay execution for a given number of seconds.")
