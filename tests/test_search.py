"""An index finds what a plain product finds, keeps what it was given, and survives being killed."""

from __future__ import annotations

import datetime
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from smoothcse.cli import main
from smoothcse.encoder import load_encoder
from smoothcse.encoding import encode
from smoothcse.errors import SmoothCSEError
from tiny import save_tiny_model, sentences

pytest.importorskip("lancedb", reason="needs the extra 'search'")

from smoothcse.search import Document, Index, read_documents
from smoothcse.search.filters import Field, Filters
from smoothcse.search.simcse_tool import SimCSE

QUIET = Console(quiet=True)


def documents(count, seed=0):
    return [
        Document(text, metadata={"year": 2000 + row % 7, "source": "ab"[row % 2], "odd": row % 2 == 1})
        for row, text in enumerate(sentences(count, seed))
    ]


@pytest.fixture
def index(tiny_bert, tmp_path):
    return Index.build(tmp_path / "docs.index", tiny_bert, documents(60), pooling="mean", console=QUIET)


def test_hits_are_those_of_a_plain_product(index, tiny_bert):
    model = load_encoder(tiny_bert, "mean")
    stored = [document.text for document in documents(60)]
    queries = sentences(5, seed=9)
    similarities = encode(model, queries, normalize=True) @ encode(model, stored, normalize=True).T
    found = index.search(queries, k=7)
    for row, hits in enumerate(found):
        assert [hit.score for hit in hits] == pytest.approx(np.sort(similarities[row])[::-1][:7], abs=2e-3)
        for hit in hits:
            assert hit.score == pytest.approx(similarities[row][stored.index(hit.text)], abs=2e-3)
    assert [hit.id for hit in index.search(queries[0], k=7)] == [hit.id for hit in found[0]]
    vectors = encode(index.model, queries) * 17.0
    again = index.search(vectors, k=7)
    assert [[hit.id for hit in hits] for hits in again] == [[hit.id for hit in hits] for hits in found]


def test_thresholds_and_filters(index):
    query = sentences(1, seed=9)[0]
    everything = index.search(query, k=60)
    best = everything[4].score
    assert index.search(query, k=60, threshold=best) == [hit for hit in everything if hit.score >= best]
    where = {"year": {"gte": 2003, "lt": 2006}, "source": "a", "odd": False}
    filtered = index.search(query, k=60, where=where)
    kept = [h for h in everything if 2003 <= h.metadata["year"] < 2006 and h.metadata["source"] == "a"]
    assert {hit.id for hit in filtered} == {hit.id for hit in kept if not hit.metadata["odd"]}
    assert filtered
    assert index.search(query, where={"source": []}) == []
    assert len(index.search(query, k=60, where="year = 2001 OR year = 2002")) == 18


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"yeer": 1}, "no field 'yeer'; it has id, year, source, odd. Did you mean 'year'"),
        ({"year": {"above": 1}}, "no comparison 'above'"),
        ({"year": {"gte": [1]}}, r"not with \[1\]"),
        ({"year": {}}, "'year' has an empty comparison; use one of gte"),
        ({"year": float("nan")}, "finite numbers, true and false, not with nan"),
        ({"year": {"lt": float("inf")}}, "not with inf"),
        ({"year": 10**40}, "failed"),
        ({"year": "x"}, r"could not convert to literal of type 'Int64'$"),  # and no line of the database's source
        ("this is no SQL", "failed"),
    ],
)
def test_filters_that_cannot_be_used(where, said, index):
    with pytest.raises(SmoothCSEError, match=said):
        index.search("cat", where=where)


@settings(max_examples=200, deadline=None)
@given(value=st.text(max_size=12))
def test_a_value_of_a_filter_never_leaves_its_quotes(value):
    sql = Filters({"source": Field("source", "text")}).all_of({"source": value})
    assert sql.startswith("`source` = '")
    assert sql.endswith("'")
    assert "'" not in sql[len("`source` = '") : -1].replace("''", "")


def test_a_filter_by_a_hostile_value_finds_that_value_and_nothing_else(tiny_bert, tmp_path):
    hostile = "x' OR '1'='1"
    some = [Document("the cat", metadata={"source": hostile}), Document("a mat", metadata={"source": "b"})]
    index = Index.build(tmp_path / "i", tiny_bert, some, console=QUIET)
    assert [hit.text for hit in index.search("cat", where={"source": hostile})] == ["the cat"]
    assert index.search("cat", where={"source": "' OR 'a'='a"}) == []


def test_add_update_delete_and_reopen(index, tiny_bert):
    more = documents(8, seed=5)
    index.add(more, console=QUIET)
    total = len({document.id for document in documents(60) + more})
    assert len(index) == total
    index.add(more, console=QUIET)
    assert len(index) == total
    index.update([Document("the cat sat", id=more[0].id, metadata={"year": 1999})], console=QUIET)
    [hit] = index.search("the cat sat", k=1, where={"year": 1999})
    assert (hit.id, hit.text, hit.metadata) == (more[0].id, "the cat sat", {"year": 1999})
    assert index.delete([more[0].id, "nobody"]) == 1
    assert index.search("the cat sat", where={"year": 1999}) == []
    reopened = Index.open(index.path)
    assert len(reopened) == total - 1
    assert reopened.fields == ["year", "source", "odd"]


def test_a_field_that_comes_later_is_a_field_like_any_other(index):
    index.add([Document("the new cat", metadata={"author": "Kim", "year": 2030, "shelf": None})], console=QUIET)
    assert index.fields == ["year", "source", "odd", "author"]
    [hit] = index.search("cat", k=100, where={"author": "Kim"})
    assert hit.metadata == {"author": "Kim", "year": 2030}
    assert len(index.search("cat", k=100, where={"author": None})) == 60
    with pytest.raises(SmoothCSEError, match=r"a field 'a.b', and a dot is no part of a column's name: rename it"):
        index.add([Document("a mat", metadata={"a.b": 1})], console=QUIET)
    with pytest.raises(SmoothCSEError, match="a field 'vector', and an index has that name of its own"):
        index.add([Document("a mat", metadata={"vector": 1})], console=QUIET)
    assert len(index) == 61


def test_many_small_changes_are_put_together(index, monkeypatch):
    monkeypatch.setattr("smoothcse.search.store.LOOSE", 8)
    for document in documents(20, seed=5):
        index.add([document], console=QUIET)
    assert index._store._table.stats()["fragment_stats"]["num_fragments"] <= 8
    assert {hit.text for hit in index.search("cat", k=200)} == set(sentences(60)) | set(sentences(20, 5))


def test_the_model_is_found_from_anywhere_and_may_move(tiny_bert, tmp_path, monkeypatch, capsys):
    shutil.copytree(tiny_bert, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    Index.build("docs.index", "model", documents(9), console=QUIET)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(Index.open(tmp_path / "docs.index")) == 9
    (tmp_path / "model").rename(tmp_path / "moved")
    with pytest.raises(SmoothCSEError, match="neither a folder"):
        Index.open(tmp_path / "docs.index")
    monkeypatch.setattr(
        "sys.argv", ["smoothcse", "search", "../docs.index", sentences(9)[4], "--model", "../moved", "-k", "1"]
    )
    with pytest.raises(SystemExit) as left:
        main()
    assert (left.value.code or 0, "1.000" in capsys.readouterr().out) == (0, True)


def test_neighbours_and_sample(index):
    [first, *_] = index.search("cat", k=1)
    near = index.neighbours(first.id, k=5)
    assert len(near) == 5
    assert first.id not in {hit.id for hit in near}
    with pytest.raises(SmoothCSEError, match="no document 'nobody'"):
        index.neighbours("nobody")
    drawn, vectors = index.sample(20, seed=1)
    assert len({document.id for document in drawn}) == 20
    assert vectors.shape == (20, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert len(index.sample(999)[0]) == 60


def test_another_model_is_refused(index, tmp_path):
    other = save_tiny_model(tmp_path / "other", "bert", num_hidden_layers=1)
    with pytest.raises(SmoothCSEError, match=r"was made by another model .* build the index anew"):
        Index.open(index.path, other)


def test_fewer_dimensions(tiny_bert, tmp_path):
    index = Index.build(tmp_path / "small", tiny_bert, documents(60), pooling="mean", dimensions=8, console=QUIET)
    vectors = encode(index.model, [document.text for document in documents(60)])[:, :8]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = documents(60)[3].text
    expected = np.sort(vectors[3] @ vectors.T)[::-1][:5]
    again = Index.open(index.path)
    assert again.dimensions == 8
    assert [hit.score for hit in again.search(query, k=5)] == pytest.approx(expected, abs=1e-3)
    assert again.nearest(encode(index.model, [query])[0], 1)[0].text == query  # cut as the documents are
    assert len(again.neighbours(documents(60)[3].id, 4)) == 4
    assert again.sample(5)[1].shape == (5, 8)
    with pytest.raises(SmoothCSEError, match="keeps 8 dimensions, not 16"):
        Index.build(index.path, tiny_bert, documents(60), pooling="mean", dimensions=16, console=QUIET)
    odd = Index.build(tmp_path / "odd", tiny_bert, documents(60), dimensions=9, console=QUIET)
    assert (index.record.codes, odd.record.codes) == ("binary", "int8")
    with pytest.raises(SmoothCSEError, match="a multiple of 8 dimensions, not 9"):  # before all is encoded
        Index.build(tmp_path / "large", tiny_bert, documents(60), dimensions=9, codes="binary", console=QUIET)
    with pytest.raises(SmoothCSEError, match="a multiple of 8 dimensions, not 9"):
        odd.encode_as("binary")
    with pytest.raises(SmoothCSEError, match="40 dimensions cannot be kept: the model's embeddings have 32"):
        Index.build(tmp_path / "large", tiny_bert, documents(60), dimensions=40, console=QUIET)
    assert not (tmp_path / "large").exists()


def test_codes_find_nearly_what_an_exact_search_finds(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr("smoothcse.search.store.APPROXIMATE_FROM", 500)
    index = Index.build(tmp_path / "docs.index", tiny_bert, documents(600), codes="int8", console=QUIET)
    queries = sentences(20, seed=9)
    exact = [{hit.id for hit in hits} for hits in index.search(queries, exact=True)]
    for codes in ("int8", "pq", "binary"):
        if codes != "int8":
            index.encode_as(codes)
        [kind] = [found.index_type for found in index._store._table.list_indices() if "vector" in found.columns]
        assert kind.replace("_", "").lower() == {"int8": "ivfsq", "pq": "ivfpq", "binary": "ivfrq"}[codes]
        found = [{hit.id for hit in hits} for hits in index.search(queries)]
        assert np.mean([len(a & b) / 10 for a, b in zip(exact, found, strict=True)]) > 0.9
    assert Index.open(index.path).record.codes == "binary"
    index = Index.build(index.path, tiny_bert, documents(600), codes="int8", console=QUIET)
    assert Index.open(index.path).record.codes == "int8"
    assert Index.build(index.path, tiny_bert, documents(600), console=QUIET).record.codes == "int8"
    index.add([Document("a document that came later")], console=QUIET)
    assert index.search("a document that came later", 1)[0].text == "a document that came later"
    with pytest.raises(SmoothCSEError, match="no codes 'pca'; choose one of pq, int8, binary"):
        Index.build(tmp_path / "other", tiny_bert, documents(5), codes="pca", console=QUIET)


def test_mistakes(tiny_bert, tmp_path, index):
    with pytest.raises(SmoothCSEError, match=r"holds no index; make one with: smoothcse index"):
        Index.open(tmp_path / "nothing")
    with pytest.raises(SmoothCSEError, match="no document to index"):
        Index.build(tmp_path / "empty", tiny_bert, [], console=QUIET)
    assert not (tmp_path / "empty").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(SmoothCSEError, match="holds something that is no index"):
        Index.build(tmp_path / "full", tiny_bert, documents(2), console=QUIET)
    with pytest.raises(SmoothCSEError, match="Field 'year' of a document does not fit the index, where it is int64"):
        index.add([Document("new", metadata={"year": "soon"})], console=QUIET)


def test_documents_of_every_format(tmp_path):
    rows = [{"text": "a cat", "n": 1, "tags": ["x"]}, {"text": "", "n": 2}, {"text": "a dog", "n": 3}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (tmp_path / "d.csv").write_text("key,text\n7,a cat\n8,a dog\n")
    (tmp_path / "d.txt").write_text("a cat\n\na dog\n")
    first, second = read_documents(tmp_path / "d.jsonl")
    assert (first.text, first.metadata) == ("a cat", {"n": 1, "tags": '["x"]'})
    assert second.metadata == {"n": 3}
    assert [document.id for document in read_documents(tmp_path / "d.csv", id="key")] == ["7", "8"]
    assert [document.id for document in read_documents(tmp_path / "d.txt")] == [first.id, second.id]
    table = pa.table({"text": ["a cat"], "day": [datetime.date(2020, 5, 1)]})
    pq.write_table(table, tmp_path / "d.parquet")
    assert [document.metadata for document in read_documents(tmp_path / "d.parquet")] == [{"day": "2020-05-01"}]
    (tmp_path / "d.jsonl").write_text('{"text": "a"}\n{"text": 3}\n')
    with pytest.raises(SmoothCSEError, match=r"d.jsonl:2: field 'text' must be a string, not 3"):
        list(read_documents(tmp_path / "d.jsonl"))


def test_the_interface_of_simcse_s_tool(tiny_bert, tmp_path):
    tool = SimCSE(tiny_bert)
    assert tool.encode("a cat").shape == (32,)
    assert tool.encode(["a cat", "a mat"]).shape == (2, 32)
    assert tool.similarity("a cat", "a cat") == pytest.approx(1, abs=1e-5)
    assert tool.similarity(["a cat", "a mat"], sentences(3)).shape == (2, 3)
    with pytest.raises(SmoothCSEError, match="call build_index first"):
        tool.search("a cat")
    with pytest.raises(SmoothCSEError, match="call build_index first"):
        tool.add_to_index(["a cat"])
    (tmp_path / "lines.txt").write_text("\n".join(sentences(30)) + "\n")
    for source in (sentences(30), tmp_path / "lines.txt"):
        tool.build_index(source)
        one = tool.search("a cat", threshold=-1, top_k=4)
        several = tool.search(["a cat", "a mat"], threshold=-1, top_k=4)
        assert one == several[0]
        assert [len(found) for found in several] == [4, 4]
        assert tool.search(["a cat"], threshold=one[1][1], top_k=4) == [one[:2]]


def test_simcses_tool_encodes_as_asked(tiny_bert):
    tool = SimCSE(tiny_bert)
    text = " ".join(sentences(6))
    vector = tool.encode(text)
    assert isinstance(vector, torch.Tensor)
    assert vector.shape == (32,)
    assert vector.norm() == pytest.approx(1, abs=1e-5)
    assert tool.encode(text, keepdim=True).shape == (1, 32)
    raw = tool.encode(text, device="cpu", return_numpy=True, normalize_to_unit=False, batch_size=1)
    assert isinstance(raw, np.ndarray)
    assert raw / np.linalg.norm(raw) == pytest.approx(vector.numpy(), abs=1e-5)
    short = tool.encode(text, max_length=5)
    torch.testing.assert_close(short, tool.encode(" ".join(text.split()[:3])))  # and two special tokens
    torch.testing.assert_close(tool.encode(text), vector)  # the limit held for one call


def test_simcses_tool_compares_embeddings_too(tiny_bert):
    tool, texts = SimCSE(tiny_bert), sentences(3)
    expected = tool.similarity(texts, texts)
    rows = 7 * tool.encode(texts, return_numpy=True)
    assert tool.similarity(texts, rows) == pytest.approx(expected, abs=1e-5)
    assert tool.similarity(rows, rows) == pytest.approx(expected, abs=1e-5)
    assert tool.similarity(texts[0], rows) == pytest.approx(expected[0], abs=1e-5)
    assert tool.similarity(texts, texts[0]) == pytest.approx(expected[:, :1], abs=1e-5)
    assert tool.similarity(texts[0], rows[1]) == pytest.approx(expected[0, 1], abs=1e-5)


def test_simcses_tool_adds_to_its_index(tiny_bert, tmp_path):
    tool, texts = SimCSE(tiny_bert), sentences(30)
    tool.build_index(texts[:10])
    tool.add_to_index(texts[5:20])
    (tmp_path / "lines.txt").write_text("\n".join(texts[20:]) + "\n")
    tool.add_to_index(str(tmp_path / "lines.txt"))
    assert len(tool.index) == 30
    assert tool.search(texts[25], threshold=0.999, top_k=1)[0][0] == texts[25]


def test_the_commands_index_and_search(tiny_bert, tmp_path, monkeypatch, capsys):
    (tmp_path / "docs.csv").write_text(
        "text,year\n" + "\n".join(f"{s},{2000 + i}" for i, s in enumerate(sentences(9)))
    )
    index = str(tmp_path / "docs.index")

    def smoothcse(*arguments):
        monkeypatch.setattr("sys.argv", ["smoothcse", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, capsys.readouterr()

    code, printed = smoothcse("index", tiny_bert, str(tmp_path / "docs.csv"), "-o", index)
    assert (code, "holds 9 documents" in printed.out) == (0, True)
    code, printed = smoothcse("search", index, sentences(9)[4], "-k", "2")
    assert code == 0
    assert "1.000" in printed.out
    assert "2004" in printed.out
    (tmp_path / "gone.txt").write_text(sentences(9)[4] + "\n")
    code, printed = smoothcse("index", tiny_bert, str(tmp_path / "gone.txt"), "-o", index, "--delete")
    assert (code, "holds 8 documents" in printed.out) == (0, True)
    code, printed = smoothcse("search", index, "a cat", "--where", "year = '1234'")
    assert "Nothing was found." in printed.out
    assert smoothcse("search", str(tmp_path / "nothing"), "a cat")[0] == 2
