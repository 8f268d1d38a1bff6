"""The probe without labels: what it holds out, what it asks, and how a model is scored by it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation import probe as module
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.lexical import word_spans
from smoothcse.evaluation.probe import document_id, evaluate_probe, make_probe, probe_score
from smoothcse.evaluation.retrieval import rank_of_relevant

WORDS = st.sampled_from(["the", "a", "cat", "house", "reads", "writes", "old", "new", "file", "opens", "red", "blue"])
SENTENCE = st.lists(WORDS, min_size=1, max_size=9).map(lambda words: " ".join(words).capitalize() + ".")
DOCUMENT = st.lists(st.tuples(SENTENCE, st.sampled_from([" ", "\n", "\n\n"])), min_size=1, max_size=9).map(
    lambda parts: "".join(sentence + gap for sentence, gap in parts)
)
CORPUS = st.lists(DOCUMENT, min_size=1, max_size=8)


def corpus(count: int = 12, seed: int = 0) -> list[str]:
    """Documents of eight distinct sentences each."""
    rng = np.random.default_rng(seed)
    return [
        " ".join(f"Sentence {row}-{n} names {' '.join(map(str, rng.integers(1000, 9999, 6)))}." for n in range(8))
        for row in range(count)
    ]


def parts(probe):
    return {
        kind: dict(zip(task.queries, (task.documents[row] for row in task.relevant), strict=True))
        for kind, task in probe.tasks.items()
    }


@given(CORPUS, st.integers(0, 3))
def test_no_query_is_left_in_its_document(documents, seed):
    try:
        probe = make_probe(documents, seed=seed)
    except SmoothCSEError:
        return
    originals = {"".join(document.split()) for document in documents}
    for task in probe.tasks.values():
        for query, row in zip(task.queries, task.relevant.tolist(), strict=True):
            assert len(word_spans(query)) >= 4
            assert query not in task.documents[row]
            assert len(word_spans(task.documents[row])) >= 8
            assert any(query in document for document in documents)
    # Sentence, crop and rest make up the document.
    lengths = {len(text) for text in originals}
    for sentence, crop, row in zip(
        probe.tasks["sentence"].queries, probe.tasks["crop"].queries, probe.tasks["sentence"].relevant, strict=True
    ):
        rest = "".join(probe.documents[row].split())
        repeats = [n for n in range(1, 10) if len(rest + "".join((crop + sentence * n).split())) in lengths]
        assert repeats, "something besides the queries was removed"


@given(CORPUS, st.integers(0, 3), st.randoms())
def test_the_probe_depends_on_seed_and_texts_and_not_on_their_order(documents, seed, random):
    def make(texts):
        try:
            probe = make_probe(texts, seed=seed)
        except SmoothCSEError as error:
            return str(error).split(" documents")[0]
        return parts(probe), probe.held_out, probe.documents

    shuffled = documents.copy()
    random.shuffle(shuffled)
    assert make(documents) == make(documents)
    assert make(shuffled) == make(documents)


def test_another_seed_draws_other_documents_and_queries():
    documents = corpus(40)
    first, second = (make_probe(documents, held_out=10, seed=seed) for seed in (0, 1))
    assert first.held_out != second.held_out
    assert parts(first) != parts(second)


def test_held_out_documents_are_known_by_their_fingerprint():
    documents = corpus()
    probe = make_probe(documents, held_out=5)
    left = [document for document in documents if probe.allows(document)]
    assert len(left) == len(documents) - 5 == 7
    assert len(probe.held_out) == 5
    assert not probe.allows(next(d for d in documents if d not in left).replace(" ", "\n  "))
    assert document_id("a  b\n") == document_id("a b") != document_id("ab")
    # What may be trained on stands whole among the probe's documents.
    assert set(left) <= set(probe.documents)


def test_all_passages_of_a_source_are_held_out_together():
    documents = corpus(12)
    sources = [row // 3 for row in range(12)]
    probe = make_probe(documents, sources=sources, held_out=2)
    held = [source for document, source in zip(documents, sources, strict=True) if not probe.allows(document)]
    assert all(held.count(source) == 3 for source in held)
    assert len(probe.tasks["sentence"].queries) == 2


def test_copies_of_a_document_count_once_and_are_held_out_together():
    documents = corpus(4)
    probe = make_probe([*documents, *documents], held_out=4)
    assert len(probe.documents) == 4
    assert not any(probe.allows(document) for document in documents)


def test_a_sentence_that_several_documents_contain_is_never_asked():
    licence = "This page is part of the manual."
    probe = make_probe([f"{licence} {document}" for document in corpus()], seed=3)
    assert licence not in probe.tasks["sentence"].queries
    assert all(licence in document for document in probe.documents)


def test_titles_are_queries_where_a_document_has_one_of_its_own():
    documents = [f"Page {row}\n\n{text}" if row % 2 else text for row, text in enumerate(corpus(9))]
    titles = ["Shared", "Page 1", None, "Page 3", "", "Page 5", "Shared", "Page 7", " Page 8 "]
    probe = make_probe(documents, titles=titles, held_out=9)
    task = probe.tasks["title"]
    assert sorted(task.queries) == ["Page 1", "Page 3", "Page 5", "Page 7", "Page 8"]
    for query, row in zip(task.queries, task.relevant.tolist(), strict=True):
        assert f"Sentence {query[-1]}-" in task.documents[row]
        assert query not in task.documents[row]
    assert probe.held_out == {document_id(text) for text in documents}
    assert "title" not in make_probe(documents).tasks


def test_the_documents_searched_are_bounded():
    probe = make_probe(corpus(30), held_out=5, among=12)
    assert len(probe.documents) == 12
    assert len(probe.held_out) == 5


def test_text_without_spaces_is_probed_too():
    rng = np.random.default_rng(0)
    characters = "天気学校公園電車駅本猫犬山川海空花森町人車道家店"
    documents = ["".join("".join(rng.choice(list(characters), 9)) + "。" for _ in range(6)) for _ in range(5)]
    probe = make_probe(documents, language="ja")
    assert len(probe.tasks["sentence"].queries) == 5
    assert all(query.endswith("。") for query in probe.tasks["sentence"].queries)


@pytest.mark.parametrize(
    "documents",
    [
        [],
        ["word", "another"],
        ["One short sentence. Two more words."] * 3,
        corpus(1),
        corpus(1) * 5,
        ["Only a single long sentence without an end that goes on and on until somebody stops it at last"] * 2,
    ],
)
def test_too_few_suitable_documents_are_refused(documents):
    with pytest.raises(SmoothCSEError, match=r"^[01] of \d documents can be held out .* Give more or longer"):
        make_probe(documents)


@pytest.mark.parametrize("column", ["titles", "sources"])
def test_columns_of_another_length_are_refused(column):
    with pytest.raises(SmoothCSEError, match=f"There are 1 {column} for 12 documents"):
        make_probe(corpus(12), **{column: ["x"]})


def test_few_sources_give_several_passages_each():
    documents, sources = corpus(60), [row // 6 for row in range(60)]
    probe = make_probe(documents, sources=sources, held_out=15, held_out_sources=3)
    whole = {document_id(text) for text, source in zip(documents, sources, strict=True)}
    asked = {}
    for row in probe.tasks["sentence"].relevant:
        asked.setdefault(int(probe.source_of[row]), []).append(row)
    assert len(asked) == 3
    assert sum(map(len, asked.values())) == 15
    assert len(probe.held_out) == 18
    assert probe.held_out < whole
    source_of = dict(zip(map(document_id, documents), sources, strict=True))
    assert len({source_of[one] for one in probe.held_out}) == 3


def test_documents_without_sources_are_their_own():
    assert make_probe(corpus(12), held_out=4).source_of.tolist() == list(range(12))


def distinct_vectors(texts: list[str]) -> np.ndarray:
    """Return a vector per text, drawn from its fingerprint: no two similarities are so close that rounding decides."""
    return np.stack([np.random.default_rng(int(document_id(text), 16)).normal(size=16) for text in texts])


def test_a_model_is_scored_by_kind_of_query_and_encodes_the_documents_once(monkeypatch):
    probe = make_probe(corpus(8), titles=[f"Names of {row}" for row in range(8)], held_out=6)
    encoded = []

    def draw(model, texts, kind, **options):
        encoded.append((kind, len(texts)))
        return distinct_vectors(texts)

    monkeypatch.setattr(module, "encode", draw)
    found = evaluate_probe(None, probe, BM25(probe.documents), cosine_weight=1)
    assert encoded == [("document", 8), ("query", 6), ("query", 6), ("query", 6)]
    assert list(found) == ["sentence", "crop", "title"]
    for kind, task in probe.tasks.items():
        ranks = rank_of_relevant(distinct_vectors(task.queries), distinct_vectors(task.documents), task.relevant)
        np.testing.assert_array_equal(found[kind].cosine.ranks, ranks)
        np.testing.assert_array_equal(found[kind].fused.ranks, ranks)
    means = [ranking.cosine.reciprocal_ranks.mean() for ranking in found.values()]
    assert probe_score(ranking.cosine for ranking in found.values()) == pytest.approx(100 * np.mean(means))


def test_an_encoder_is_scored(tiny_bert):
    probe = make_probe(corpus(8), held_out=6)
    found = evaluate_probe(load_encoder(tiny_bert, "mean"), probe, BM25(probe.documents))
    assert set(found) == {"sentence", "crop"}
    assert all(((ranking.cosine.ranks >= 1) & (ranking.cosine.ranks <= 8)).all() for ranking in found.values())


def test_a_collapsed_model_has_the_lowest_score(monkeypatch):
    monkeypatch.setattr(module, "encode", lambda model, texts, *rest, **options: np.ones((len(texts), 4)))
    probe = make_probe(corpus(10), held_out=5)
    found = evaluate_probe(None, probe, BM25(probe.documents))
    assert probe_score(ranking.cosine for ranking in found.values()) == pytest.approx(100 / 10)
