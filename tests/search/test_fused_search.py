"""A search by words and meaning finds what the exact fusion over all documents finds."""

from __future__ import annotations

import json
import shutil

import bm25s
import numpy as np
import pytest
from rich.console import Console
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from smoothcse.cli import main
from smoothcse.encoders.inference import encode
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.fusion import fuse
from smoothcse.evaluation.lexical import Words
from smoothcse.evaluation.retrieval import cosine_blocks, python_docs_task
from smoothcse.runs.search_settings import SearchSettings, write_search_settings
from tiny import sentences

pytest.importorskip("lancedb", reason="needs the extra 'search'")

from lancedb.table import LanceTable

from smoothcse.search import Document, Index
from smoothcse.search.index_record import IndexRecord
from smoothcse.search.index_writer import IndexWriter
from smoothcse.search.store import Store

QUIET = Console(quiet=True)
TEXTS = sentences(300)
QUERIES = sentences(12, seed=9)


def documents(texts=TEXTS):
    return [Document(text, str(row), {"year": 2000 + row % 7}) for row, text in enumerate(texts)]


@pytest.fixture(scope="module")
def built(tiny_bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("fused") / "docs.index"
    return Index.build(path, tiny_bert, documents(), console=QUIET)


@pytest.fixture
def index(built, tmp_path):
    return Index.open(shutil.copytree(built.path, tmp_path / "docs.index"), built.model)


def lucene(texts, queries, language):
    """BM25 as LanceDB computes it, over any texts; texts without words do not count."""
    words, numbers = Words(language), {}
    split = [[numbers.setdefault(word, len(numbers)) for word in words(text)] for text in texts]
    filled = [row for row, found in enumerate(split) if found]
    ranker = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    ranker.index(([split[row] for row in filled], numbers), create_empty_token=False, show_progress=False)
    scores = np.zeros((len(queries), len(texts)))
    for row, query in enumerate(queries):
        if known := [numbers[word] for word in words(query) if word in numbers]:
            scores[row, filled] = ranker.get_scores_from_ids(known)
    return scores


def expected(index, texts, weight, queries=QUERIES):
    cosines = encode(index.model, queries, normalize=True) @ encode(index.model, texts, normalize=True).T
    return cosines, fuse(cosines, lucene(texts, queries, index.record.language), weight)


@pytest.mark.parametrize("weight", [0.3, 0.7])
def test_scores_are_those_of_the_exact_fusion(weight, built):
    cosines, scores = expected(built, TEXTS, weight)
    for row, hits in enumerate(built.search(QUERIES, k=10, cosine_weight=weight)):
        assert [hit.score for hit in hits] == pytest.approx(np.sort(scores[row])[::-1][:10], abs=1e-4)
        for hit in hits:
            assert hit.score == pytest.approx(scores[row][int(hit.id)], abs=1e-4)
            assert hit.cosine == pytest.approx(cosines[row][int(hit.id)], abs=1e-5)
            assert hit.metadata == {"year": 2000 + int(hit.id) % 7}


def test_scores_are_scaled_over_the_documents_that_match_the_filter(built):
    kept = [row for row in range(len(TEXTS)) if row % 7 in (3, 4)]
    cosines, _ = expected(built, TEXTS, 0.7)
    scores = fuse(cosines[:, kept], lucene(TEXTS, QUERIES, built.record.language)[:, kept])
    for row, hits in enumerate(built.search(QUERIES, k=10, where={"year": [2003, 2004]})):
        assert [hit.score for hit in hits] == pytest.approx(np.sort(scores[row])[::-1][:10], abs=1e-4)
    assert built.search("cat", where={"year": 1999}) == []


def test_the_ends_of_the_weight_are_words_alone_and_meaning_alone(built):
    words = lucene(TEXTS, QUERIES, built.record.language)
    for row, hits in enumerate(built.search(QUERIES, k=400, cosine_weight=0)):
        assert {int(hit.id) for hit in hits} == set(np.flatnonzero(words[row]).tolist())
        assert [words[row][int(hit.id)] for hit in hits] == sorted(words[row][words[row] > 0], reverse=True)
    assert built.search("zyzzyva", cosine_weight=0) == []
    alone = built.search(QUERIES, cosine_weight=1)
    assert alone == built.search(encode(built.model, QUERIES))
    assert all(hit.score == hit.cosine for hits in alone for hit in hits)
    unknown = [hit.id for hit in built.search("zyzzyva", k=20)]
    assert unknown == [hit.id for hit in built.search("zyzzyva", k=20, cosine_weight=1)]


def test_changed_documents_are_found_by_their_new_words(index):
    index.add([Document("an axolotl", "0"), Document("axolotl and quokka", "new")], console=QUIET)
    assert [hit.id for hit in index.search("axolotl", cosine_weight=0)] == ["0", "new"]
    index.update([Document("a quokka", "0")], console=QUIET)
    assert [hit.id for hit in index.search("axolotl", cosine_weight=0)] == ["new"]
    index.delete(["new"])
    assert index.search("axolotl", cosine_weight=0) == []
    assert [hit.id for hit in index.search("quokka", cosine_weight=0)] == ["0"]


def test_a_change_in_the_middle_of_a_search_mixes_no_versions(index, monkeypatch):
    """A replaced document gets another row number, so that it would be found twice."""
    original, changed = Store.matching_table, []

    def matching_table(self, *arguments):
        if not changed:
            changed.append(True)
            index.update(documents())
        return original(self, *arguments)

    monkeypatch.setattr(Store, "matching_table", matching_table)
    hits = index.search(QUERIES[0], 50, cosine_weight=0.5)
    assert changed
    monkeypatch.undo()
    expected_hits = index.search(QUERIES[0], 50, cosine_weight=0.5)
    assert [hit.id for hit in hits] == [hit.id for hit in expected_hits]
    assert len({hit.id for hit in hits}) == 50


def test_documents_that_vanish_during_a_search_are_no_error(index, monkeypatch):
    monkeypatch.setattr(Store, "nearest", lambda *_: [])
    assert len(index.search(QUERIES[0], 5, cosine_weight=0.5)) == 5


def test_texts_without_spaces_are_found_by_their_characters(tiny_bert, tmp_path):
    texts = ["東京都に住む", "京都の寺", "大阪の城"]
    index = Index.build(tmp_path / "ja.index", tiny_bert, documents(texts), console=QUIET)
    assert [hit.text for hit in index.search("東京", cosine_weight=0)] == [texts[0]]
    assert index.record.language == "none"


def test_the_weight_of_the_model_is_recorded_and_used(tiny_bert, tmp_path):
    model, path = shutil.copytree(tiny_bert, tmp_path / "model"), tmp_path / "docs.index"
    index = Index.build(path, str(model), documents(), console=QUIET)
    assert (index.record.cosine_weight, index.cosine_weight) == (None, 0.7)
    write_search_settings(model, SearchSettings(cosine_weight=0.4))
    index = Index.build(path, str(model), documents(), console=QUIET)
    assert (index.record.cosine_weight, Index.open(path).cosine_weight) == (0.4, 0.4)
    assert (
        index.search(QUERIES) == index.search(QUERIES, cosine_weight=0.4) != index.search(QUERIES, cosine_weight=0.9)
    )
    index.delete(["0"])
    index.requantise("int8")
    assert index.cosine_weight == 0.4


@pytest.mark.parametrize(
    ("field", "value"), [("cosine_weight", 7), ("cosine_weight", "x"), ("language", "klingon"), ("rerank", "x")]
)
def test_a_damaged_record_is_named(field, value, index):
    file = index.path / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(SmoothCSEError, match=rf"index\.json cannot be read as the record of an index: {field}"):
        Index.open(index.path, index.model)


def test_weights_that_cannot_be_used(built):
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(SmoothCSEError, match="choose a number from 0"):
            built.search("cat", cosine_weight=weight)
    with pytest.raises(SmoothCSEError, match="Query vectors have no words"):
        built.search(encode(built.model, QUERIES), cosine_weight=0.5)


def make_old(index):
    """Turn an index into one of an earlier version."""
    table = index._store._table
    table.drop_index(table.list_indices()[0].name)
    table.drop_columns(["`%words`"])
    file = index.path / "index.json"
    record = json.loads(file.read_text())
    del record["language"], record["cosine_weight"]
    file.write_text(json.dumps(record))
    return Index.open(index.path, index.model)


def test_an_index_of_an_earlier_version_is_searched_by_meaning_until_it_is_built_again(
    index, built, tiny_bert, monkeypatch, capsys
):
    before = built.search(QUERIES)
    alone = built.search(QUERIES, cosine_weight=1)
    old = make_old(index)
    assert old.search(QUERIES) == alone
    assert old.cosine_weight == 1
    with pytest.raises(SmoothCSEError, match="needs words in the index"):
        old.search("cat", cosine_weight=0.7)
    monkeypatch.setattr("sys.argv", ["smoothcse", "search", str(index.path), "a cat"])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    assert "without words for BM25 and is searched by meaning alone; run" in capsys.readouterr().err
    encoded = []
    monkeypatch.setattr("smoothcse.search.index.encode", lambda *_, **__: encoded.append(1))
    Index.build(index.path, tiny_bert, documents(), console=QUIET)
    monkeypatch.undo()
    assert not encoded
    upgraded = Index.open(index.path, built.model)
    assert upgraded.without_words is None
    assert [[hit.id for hit in hits] for hits in upgraded.search(QUERIES)] == [
        [hit.id for hit in hits] for hits in before
    ]


@pytest.mark.parametrize("step", range(6))
def test_an_upgrade_that_is_cut_off_continues(step, index, built, monkeypatch):
    """Six writes: the column, its index, two parts of the words, the record, and the mark of the change."""
    old = make_old(index)
    left = [step]

    def cut(owner, name):
        original = getattr(owner, name)

        def write(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, write)

    monkeypatch.setattr(IndexWriter, "COMMIT", 200)
    for owner, name in ((LanceTable, "add_columns"), (LanceTable, "create_index"), (IndexRecord, "write")):
        cut(owner, name)
    cut(type(old._store), "set_words")
    with pytest.raises(KeyboardInterrupt):
        old.add([Document("axolotl")], console=QUIET)
    monkeypatch.undo()
    again = Index.open(index.path, built.model)
    assert len(again) == len(TEXTS)
    assert len(again.search(QUERIES[0])) == 10
    again.add([Document("axolotl")], console=QUIET)
    assert [hit.text for hit in again.search("axolotl", cosine_weight=0)] == ["axolotl"]
    scores = expected(again, [*TEXTS, "axolotl"], 0.7)[1]
    for row, hits in enumerate(again.search(QUERIES)):
        assert [hit.score for hit in hits] == pytest.approx(np.sort(scores[row])[::-1][:10], abs=1e-4)


def test_python_docs_are_ranked_as_the_verdict_ranks_them(tiny_bert, tmp_path, monkeypatch):
    """An index and a verdict have the same BM25; vectors are those of LSA, for speed."""
    task = python_docs_task()
    analysis = make_pipeline(TfidfVectorizer(sublinear_tf=True), TruncatedSVD(32, random_state=0)).fit(task.documents)
    monkeypatch.setattr("smoothcse.search.index.encode", lambda _, texts, **__: analysis.transform(texts))
    index = Index.build(tmp_path / "docs.index", tiny_bert, documents(task.documents), console=QUIET)
    queries = task.queries[::12]
    [cosines] = cosine_blocks(analysis.transform(queries), analysis.transform(task.documents))
    scores = fuse(cosines, BM25(task.documents, index.record.language).scores(queries))
    found = index.search(queries, k=10)
    best = -np.sort(-scores, axis=1)[:, :10]
    np.testing.assert_allclose([[hit.score for hit in hits] for hits in found], best, atol=1e-4)
