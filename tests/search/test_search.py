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
from rich.cells import cell_len
from rich.console import Console

from smoothcse.cli import main
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
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
    found = index.search(queries, k=7, cosine_weight=1)
    for row, hits in enumerate(found):
        assert [hit.score for hit in hits] == pytest.approx(np.sort(similarities[row])[::-1][:7], abs=2e-3)
        for hit in hits:
            assert hit.score == pytest.approx(similarities[row][stored.index(hit.text)], abs=2e-3)
    assert [hit.id for hit in index.search(queries[0], k=7, cosine_weight=1)] == [hit.id for hit in found[0]]
    vectors = encode(index.model, queries) * 17.0
    again = index.search(vectors, k=7)
    assert [[hit.id for hit in hits] for hits in again] == [[hit.id for hit in hits] for hits in found]


def test_thresholds_and_filters(index):
    query = sentences(1, seed=9)[0]
    everything = index.search(query, k=60)
    best = everything[4].cosine
    assert index.search(query, k=60, threshold=best) == [hit for hit in everything if hit.cosine >= best]
    alone = index.search(query, k=60, cosine_weight=1)
    best = alone[4].score
    assert index.search(query, k=60, threshold=best, cosine_weight=1) == [hit for hit in alone if hit.score >= best]
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
        ({"yeer": 1}, "The index has no field 'yeer' (FIELDS). Did you mean 'year'?"),
        ({"_rowid": 1}, "The index has no field '_rowid' (FIELDS)."),
        ({7: 1}, "The index has no field 7 (FIELDS)."),
        ({"year": {"above": 1}}, "Field 'year': there is no comparison 'above'; use one of COMPARISONS (FIELDS)."),
        ({"year": {"gte": [1]}}, "Field 'year' holds whole numbers and cannot be compared with [1] (FIELDS)."),
        ({"year": {}}, "Field 'year' has an empty comparison; use one of COMPARISONS (FIELDS)."),
        ({"year": float("nan")}, "Field 'year' FINITE, not with nan (FIELDS)."),
        ({"year": {"lt": float("inf")}}, "Field 'year' FINITE, not with inf (FIELDS)."),
        ({"year": 2**63}, "Field 'year' FINITE, not with 9223372036854775808 (FIELDS)."),
        ({"year": 10**5000}, "Field 'year' FINITE, not with such a long int (FIELDS)."),
        ({"year": "x"}, "Field 'year' holds whole numbers and cannot be compared with 'x' (FIELDS)."),
        ({"year": True}, "Field 'year' holds whole numbers and cannot be compared with True (FIELDS)."),
        ({"source": 1}, "Field 'source' holds text and cannot be compared with 1 (FIELDS)."),
        ({"odd": 1}, "Field 'odd' holds true or false and cannot be compared with 1 (FIELDS)."),
        ({"source": ["a", None]}, "Field 'source' holds text and cannot be compared with None (FIELDS)."),
        ({"source": "\ud800"}, "Field 'source' is compared with a text that has an unpaired surrogate (FIELDS)."),
        (["year"], "A filter is a mapping or a condition, not of the type list (FIELDS)."),
        ("this is no SQL", "The index has no field 'this' (FIELDS)."),
        ("", "The condition needs a field at its end (FIELDS)."),
        ("year = 2001 AND", "The condition needs a field at its end (FIELDS)."),
        ("year = 2001 2002", "The condition needs AND, OR or the end instead of '2002' (FIELDS)."),
        ("year", "The condition needs a comparison after 'year' at its end (FIELDS)."),
        ("year NOT 1", "The condition needs IN, BETWEEN or LIKE instead of '1' (FIELDS)."),
        ("year = source", "The condition needs a number, a 'text', TRUE or FALSE instead of 'source' (FIELDS)."),
        ("(year = 1", "The condition needs ) at its end (FIELDS)."),
        ("year = 'x", 'The condition cannot be parsed from " \'x" on (FIELDS).'),
        (
            "year = 1; DROP TABLE documents",
            "The condition cannot be parsed from '; DROP TABLE documents'[:20] on (FIELDS).",
        ),
        ("_rowid = 1", "The index has no field '_rowid' (FIELDS)."),
        ("lower(source) = 'a'", "The index has no field 'lower' (FIELDS)."),
        ("id IN (SELECT id FROM documents)", "VALUE instead of 'SELECT' (FIELDS)."),
        ("year LIKE '2%'", "LIKE needs a text field, and 'year' holds whole numbers (FIELDS)."),
        ("year = '2001'", "Field 'year' holds whole numbers and cannot be compared with '2001' (FIELDS)."),
        ("year = 1e999", "Field 'year' FINITE, not with inf (FIELDS)."),
        (" OR ".join(["year = 1"] * 1001), "The condition has more than 1,000 comparisons (FIELDS)."),
        ("(" * 20 + "year = 1" + ")" * 20, "The condition has more than 16 levels of nesting (FIELDS)."),
        (f"year = {'9' * 5000}", "The condition has a number of 5,000 characters (FIELDS)."),
    ],
)
def test_filters_that_cannot_be_used(where, said, index):
    said = said.replace("'; DROP TABLE documents'[:20]", repr("; DROP TABLE documents"[:20]))
    for short, long in (
        ("FIELDS", "fields: id, year, source, odd"),
        ("COMPARISONS", "gte, gt, lte, lt, ne"),
        ("FINITE", "can be compared with finite numbers of at most 64 bits"),
        ("VALUE", "The condition needs a number, a 'text', TRUE or FALSE"),
    ):
        said = said.replace(short, long)
    with pytest.raises(SmoothCSEError) as refused:
        index.search("cat", where=where)
    assert str(refused.value) == said


ROWS = {document.text: document.metadata for document in documents(60)}


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("year >= 2003 AND source = 'a'", lambda row: row["year"] >= 2003 and row["source"] == "a"),
        ("odd and not (odd and year <> 2006)", lambda row: row["odd"] and row["year"] == 2006),
        ("year in (2001, 2002.5, 2003)", lambda row: row["year"] in (2001, 2003)),
        ('`year` NOT IN (2001) AND "odd" = FALSE', lambda row: row["year"] != 2001 and not row["odd"]),
        ("year BETWEEN 2001 AND 2002.5", lambda row: row["year"] in (2001, 2002)),
        ("year NOT BETWEEN 2001 AND 2003", lambda row: not 2001 <= row["year"] <= 2003),
        ("source LIKE 'a%' AND id IS NOT NULL", lambda row: row["source"] == "a"),
        ("odd OR year = 2002 AND source = 'b'", lambda row: row["odd"] or (row["year"], row["source"]) == (2002, "b")),
        ("source IS NULL", lambda row: False),
        ("NOT " * 16 + "odd", lambda row: row["odd"]),
        ("(" * 16 + "odd" + ")" * 16, lambda row: row["odd"]),
        (" OR ".join(["(year = 1 AND odd)"] * 499 + ["odd"]), lambda row: row["odd"]),
        ({"year": {"gte": 2002.5}}, lambda row: row["year"] > 2002),
        ({"year": {"lt": 2002.5, "gt": 2000.5}}, lambda row: row["year"] in (2001, 2002)),
        ({"year": {"lte": 2002.0, "ne": 2001.5}}, lambda row: row["year"] <= 2002),
        ({"year": 2002.5}, lambda row: False),
        ({"year": [2002.5]}, lambda row: False),
    ],
)
def test_a_filter_keeps_what_a_loop_keeps(where, kept, index):
    found = {hit.text for hit in index.search("cat", 60, where=where)}
    assert found == {text for text, row in ROWS.items() if kept(row)}


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
    with pytest.raises(SmoothCSEError, match="a field without a name: name it, or remove it"):
        index.add([Document("a mat", metadata={"": 1})], console=QUIET)
    with pytest.raises(SmoothCSEError, match="a field 'vector', which is a reserved name"):
        index.add([Document("a mat", metadata={"vector": 1})], console=QUIET)
    assert len(index) == 61


NAMES = (
    "a`b",
    'a"b',
    "a'b",
    "a.b",
    "*",
    "_rowid",
    "_distance",
    "_score",
    "%2E",
    "a\nb",
    "\0",
    "é 日本-7",
    "YEAR",
    "year",
    "select",
)


@pytest.mark.parametrize("later", [False, True])
def test_metadata_may_have_any_name(later, tiny_bert, tmp_path):
    named = Document("the cat", "1", {name: f"x{number}" for number, name in enumerate(NAMES)})
    others = [Document(text, str(number + 2)) for number, text in enumerate(sentences(4))]
    index = Index.build(tmp_path / "i", tiny_bert, others if later else [named, *others], console=QUIET)
    for _ in range(2):
        index.add([named], console=QUIET)
    assert index.fields == list(NAMES)
    for number, name in enumerate(NAMES):
        quoted = f"`{name.replace('`', '``')}` = 'x{number}'"
        for where in ({name: f"x{number}"}, {name: {"gte": f"x{number}"}}, quoted):
            assert [(hit.id, hit.metadata) for hit in index.search("cat", where=where)] == [("1", named.metadata)]
        assert len(index.search("cat", where={name: None})) == 4
    assert index.neighbours("2", 4)
    assert {document.id: document.metadata for document in index.sample(5)[0]}["1"] == named.metadata
    assert index.delete(["1"]) == 1


def test_half_characters_become_whole_ones(tiny_bert, tmp_path):
    half = Document("the \ud83d cat", "\udc00", {"\ud83d": "x\ud83d"})
    index = Index.build(tmp_path / "i", tiny_bert, [half], console=QUIET)
    [hit] = index.search("\ud83d cat", where={"\ufffd": "x\ufffd"})
    assert (hit.id, hit.text) == ("\ufffd", "the \ufffd cat")


def test_many_small_changes_are_put_together(index, monkeypatch):
    monkeypatch.setattr("smoothcse.search.table_indexes.MAX_FRAGMENTS", 8)
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
    with pytest.raises(SmoothCSEError, match=r"was made by another model .* build a new index"):
        Index.open(index.path, other)


def test_fewer_dimensions(tiny_bert, tmp_path):
    index = Index.build(tmp_path / "small", tiny_bert, documents(60), pooling="mean", dimensions=8, console=QUIET)
    vectors = encode(index.model, [document.text for document in documents(60)])[:, :8]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = documents(60)[3].text
    expected = np.sort(vectors[3] @ vectors.T)[::-1][:5]
    again = Index.open(index.path)
    assert again.dimensions == 8
    assert [hit.score for hit in again.search(query, k=5, cosine_weight=1)] == pytest.approx(expected, abs=1e-3)
    assert again.nearest(encode(index.model, [query])[0], 1)[0].text == query  # cut as the documents are
    assert len(again.neighbours(documents(60)[3].id, 4)) == 4
    assert again.sample(5)[1].shape == (5, 8)
    with pytest.raises(SmoothCSEError, match="keeps 8 dimensions, not 16"):
        Index.build(index.path, tiny_bert, documents(60), pooling="mean", dimensions=16, console=QUIET)
    odd = Index.build(tmp_path / "odd", tiny_bert, documents(60), dimensions=9, console=QUIET)
    assert (index.record.quantisation, odd.record.quantisation) == ("binary", "int8")
    with pytest.raises(
        SmoothCSEError, match="a dimension divisible by 8, and the vectors have 9"
    ):  # before all is encoded
        Index.build(tmp_path / "large", tiny_bert, documents(60), dimensions=9, quantisation="binary", console=QUIET)
    with pytest.raises(SmoothCSEError, match="a dimension divisible by 8, and the vectors have 9"):
        odd.requantise("binary")
    with pytest.raises(SmoothCSEError, match="40 dimensions cannot be kept: the model's embeddings have 32"):
        Index.build(tmp_path / "large", tiny_bert, documents(60), dimensions=40, console=QUIET)
    assert not (tmp_path / "large").exists()


def test_quantised_search_finds_nearly_what_an_exact_search_finds(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr("smoothcse.search.table_indexes.APPROXIMATE_FROM", 500)
    index = Index.build(tmp_path / "docs.index", tiny_bert, documents(600), quantisation="int8", console=QUIET)
    queries = sentences(20, seed=9)
    exact = [{hit.id for hit in hits} for hits in index.search(queries, exact=True, cosine_weight=1)]
    for quantisation in ("int8", "pq", "binary"):
        if quantisation != "int8":
            index.requantise(quantisation)
        [kind] = [found.index_type for found in index._store._table.list_indices() if "vector" in found.columns]
        assert kind.replace("_", "").lower() == {"int8": "ivfsq", "pq": "ivfpq", "binary": "ivfrq"}[quantisation]
        found = [{hit.id for hit in hits} for hits in index.search(queries, cosine_weight=1)]
        assert np.mean([len(a & b) / 10 for a, b in zip(exact, found, strict=True)]) > 0.9
    assert Index.open(index.path).record.quantisation == "binary"
    index = Index.build(index.path, tiny_bert, documents(600), quantisation="int8", console=QUIET)
    assert Index.open(index.path).record.quantisation == "int8"
    assert Index.build(index.path, tiny_bert, documents(600), console=QUIET).record.quantisation == "int8"
    index.add([Document("a document that came later")], console=QUIET)
    assert index.search("a document that came later", 1)[0].text == "a document that came later"
    with pytest.raises(SmoothCSEError, match="The quantisation 'pca' is unknown; choose one of pq, int8, binary"):
        Index.build(tmp_path / "other", tiny_bert, documents(5), quantisation="pca", console=QUIET)


def test_mistakes(tiny_bert, tmp_path, index):
    with pytest.raises(SmoothCSEError, match=r"holds no index; build one with: smoothcse index"):
        Index.open(tmp_path / "nothing")
    with pytest.raises(SmoothCSEError, match="no document to index"):
        Index.build(tmp_path / "empty", tiny_bert, [], console=QUIET)
    assert not (tmp_path / "empty").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(SmoothCSEError, match="holds something other than an index"):
        Index.build(tmp_path / "full", tiny_bert, documents(2), console=QUIET)
    with pytest.raises(
        SmoothCSEError, match=r"^Document 'n' has 'soon' in the field 'year', but the index stores whole n"
    ):
        index.add([Document("new", "n", {"year": "soon", "later": 1})], console=QUIET)
    assert (index.fields, index.incomplete, len(index)) == (["year", "source", "odd"], None, 60)
    with pytest.raises(SmoothCSEError, match="Document 'n' has 9223372036854775808 in the field 'year'"):
        Index.build(tmp_path / "huge", tiny_bert, [Document("new", "n", {"year": 2**63})], console=QUIET)
    assert not (tmp_path / "huge").exists()


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


@pytest.mark.bf16
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
    assert "No document was found." in printed.out
    code, printed = smoothcse("search", index, "a cat", "--where", "yaer = 1234")
    assert (code, "Did you mean 'year'?" in printed.err) == (2, True)
    assert smoothcse("search", str(tmp_path / "nothing"), "a cat")[0] == 2


def test_a_search_shows_first_lines_in_80_columns_and_whole_documents_on_request(
    tiny_bert, tmp_path, monkeypatch, capsys
):
    page = "\n".join(f"  line {n} " + "cat " * 25 for n in range(300))
    evil = Document("\x1b[31m[bold]cat[/] " + "日本" * 100, "evil", {"note\n": "x " * 500, "year": 7})
    Index.build(tmp_path / "i", tiny_bert, [Document(page, "page"), evil, Document("a short cat")], console=QUIET)
    monkeypatch.setenv("COLUMNS", "80")

    def printed(*options):
        monkeypatch.setattr("sys.argv", ["smoothcse", "search", str(tmp_path / "i"), "cat", *options])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out

    short, full = printed(), printed("--full")
    assert max(map(cell_len, short.splitlines() + full.splitlines())) <= 80
    assert len(short.splitlines()) == 1 + (3 + 1) + (3 + 1) + 1
    assert "\x1b" not in short + full
    assert "line 0 cat" in short
    assert " …" in short
    assert "line 2 " not in short
    assert "[bold]cat[/]" in short
    assert all(f"line {n} cat" in full for n in range(300))
    assert "year: 7" in short
    assert "x " * 500 in " ".join(full.split()) + " "
    scores = [line.split()[0] for line in short.splitlines()[1:] if line.strip()[:1].isdigit()]
    assert scores[:3] == sorted(scores[:3], reverse=True)


def smoothcse(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["smoothcse", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code or 0, capsys.readouterr()


@pytest.mark.bf16
def test_a_file_that_breaks_leaves_an_index_that_says_so(tiny_bert, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("smoothcse.search.index_writer.IndexWriter.COMMIT", 10)
    lines = [json.dumps({"text": text}) for text in sentences(50)]
    docs, other, index = tmp_path / "docs.jsonl", tmp_path / "other.txt", tmp_path / "docs.index"
    docs.write_text("\n".join([*lines[:25], '{"text": ', *lines[25:]]) + "\n")
    other.write_text("a cat\n")
    build = ("index", tiny_bert, docs, "-o", index)
    code, printed = smoothcse(monkeypatch, capsys, *build)
    told = "The index docs.index is incomplete: a change from 'docs.jsonl' has not ended"
    assert code == 2
    assert "docs.jsonl:26" in printed.err
    assert told in printed.err
    for command in (
        ("search", index, "a cat"),
        ("index", tiny_bert, other, "-o", index),
    ):  # other files change nothing
        code, printed = smoothcse(monkeypatch, capsys, *command)
        assert (code, told in printed.err, told in printed.out) == (0, True, False)
    with pytest.warns(UserWarning, match=told):
        opened = Index.open(index)
    assert (len(opened), opened.incomplete[: len(told)]) == (21, told)
    assert smoothcse(monkeypatch, capsys, *build)[0] == 2  # broken still, and nothing new in it
    assert opened.incomplete
    docs.write_text("\n".join(lines) + "\n")
    assert smoothcse(monkeypatch, capsys, *build)[0] == 0
    assert (opened.incomplete, len(Index.open(index))) == (None, 51)


def test_what_is_refused_before_it_changes_anything_leaves_an_index_complete(index):
    broken = [Document("new", metadata={"year": "soon"})]
    for change in (index.add, index.update):
        with pytest.raises(SmoothCSEError, match=r"rename the field\.$"):
            change(broken, console=QUIET)
        assert index.incomplete is None


def test_each_kind_of_change_that_is_cut_off_is_told(index, monkeypatch):
    monkeypatch.setattr("smoothcse.search.index_writer.IndexWriter.COMMIT", 2)

    def cut_off(items):
        yield from items[:5]
        raise SmoothCSEError("The file broke.")

    ids = [document.id for document in documents(60)]
    for change, items, source in (
        (index.add, documents(9, seed=3), "a.jsonl"),
        (index.update, documents(9), "b.jsonl --update"),
        (index.delete, ids, "c.jsonl --delete"),
    ):
        with pytest.raises(
            SmoothCSEError, match=f"^The file broke. The index .* is incomplete: a change from .*{source}"
        ):
            change(cut_off(items), source=f"/data/{source}")
    assert index.record.unfinished == ("/data/a.jsonl", "/data/b.jsonl --update", "/data/c.jsonl --delete")
    index.update(documents(9), source="/data/b.jsonl --update", console=QUIET)
    assert len(index.record.unfinished) == 2
    index.add([Document("new")], complete=True, console=QUIET)
    assert index.incomplete is None


def test_an_index_of_a_former_version_is_complete(index):
    record = json.loads((index.path / "index.json").read_text())
    del record["unfinished"]
    (index.path / "index.json").write_text(json.dumps(record))
    assert Index.open(index.path).incomplete is None
