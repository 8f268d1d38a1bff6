"""All formats, compressed or not, and the message for every error in them, with its place and remedy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse.corpus import blocks
from smoothcse.corpus.formats import TextFile, is_supported
from smoothcse.corpus.readers import read_batches, read_texts
from smoothcse.corpus.records import read_records
from smoothcse.errors import SmoothCSEError

SENTENCES = ["A first one.", 'Say "hi", world.', "Zwölf Boxkämpfer – 你好"]


def read(path: Path, column: str | None = None, block_bytes: int = 1 << 20) -> list[str]:
    batches = read_batches(TextFile(path, path.name), [column] if column else None, block_bytes)
    return [text.rstrip("\r\n") for batch in batches for text in batch.column(0).to_pylist()]


def refusal(path: Path, column: str | None = None) -> str:
    with pytest.raises(SmoothCSEError) as caught:
        read(path, column)
    return str(caught.value)


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def encoded(kind: str) -> bytes:
    rows = {
        "txt": SENTENCES,
        "jsonl": [json.dumps({"id": i, "text": s}) for i, s in enumerate(SENTENCES)],
        "csv": ["id,text", *(f"{i},{quoted(s)}" for i, s in enumerate(SENTENCES))],
        "tsv": ["id\ttext", *(f"{i}\t{s}" for i, s in enumerate(SENTENCES))],
    }
    return "\n".join(rows[kind]).encode() + b"\n"


def packed(data: bytes, packing: str) -> bytes:
    if not packing:
        return data
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, {".gz": "gzip", ".zst": "zstd"}[packing]) as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv"])
def test_text_formats(tmp_path, kind, packing):
    path = tmp_path / f"corpus.{kind}{packing}"
    data = encoded(kind)
    for variant in (data, b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r\n"), data.replace(b"\n", b"\r")):
        path.write_bytes(packed(variant, packing))
        assert read(path) == SENTENCES
        assert list(read_texts(TextFile(path, path.name))) == SENTENCES


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet(tmp_path, kind):
    table = pa.table({"id": [1, 2, 3, 4], "body": pa.array([*SENTENCES, None], kind)})
    pq.write_table(table, tmp_path / "corpus.parquet", row_group_size=2)
    assert read(tmp_path / "corpus.parquet") == [*SENTENCES, ""]


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", "a", "é", "long line", "\r", "\n", "\r\n", "你" * 9])), st.integers(1, 40))
def test_lines_are_independent_of_block_size_and_line_ends(tmp_path_factory, parts, block_bytes):
    path = tmp_path_factory.mktemp("blocks") / "corpus.txt"
    path.write_bytes("".join(parts).encode())
    expected = path.read_text(encoding="utf-8").split("\n")  # Python's universal newlines
    expected = expected if expected[-1] else expected[:-1]
    batches = read_batches(TextFile(path, "x"), None, block_bytes)
    assert [text.removesuffix("\n") for batch in batches for text in batch.column(0).to_pylist()] == expected


def test_concatenated_gzip_members_are_all_read(tmp_path):
    path = tmp_path / "corpus.txt.gz"
    path.write_bytes(gzip.compress(b"one\n", mtime=0) + gzip.compress(b"two\n"))
    assert read(path) == ["one", "two"]


def test_csv_fields_may_hold_line_ends_and_blank_lines_are_empty_sentences(tmp_path):
    path = tmp_path / "corpus.csv"
    path.write_text('\nid,text\n1,"two\nlines"\n\n2,last\n')
    assert read(path) == ["two\nlines", "", "last"]


EMPTY_RECORDS = {
    "a.txt": ("one\n\ntwo\n\n", ["one", "", "two", ""]),
    "a.jsonl": ('{"text": "one"}\n\n{"text": ""}\n  \n{"text": "two"}\n\n', ["one", "", "two"]),
    "a.csv": ('\nid,text\n1,one\n\n2,\n3,"two\n\nlines"\n\n', ["one", "", "two\n\nlines"]),
    "b.csv": ('text\none\n\n""\ntwo\n', ["one", "", "two"]),
    "a.tsv": ("id\ttext\n1\tone\n\n2\t\n3\ttwo\n", ["one", "", "two"]),
    "headed.csv": ("text\n", []),
    "empty.csv": ("", []),
    "empty.jsonl": ("\n\n", []),
}


@pytest.mark.parametrize("name", EMPTY_RECORDS)
def test_empty_texts_are_records_and_empty_lines_are_not(tmp_path, name):
    content, expected = EMPTY_RECORDS[name]
    path = tmp_path / name
    path.write_bytes(content.encode())
    assert list(read_texts(TextFile(path, name))) == expected


def test_a_missing_value_in_parquet_is_an_empty_text(tmp_path):
    pq.write_table(pa.table({"a": ["one", None, "", "two"], "b": ["x"] * 4}), tmp_path / "a.parquet")
    assert list(read_texts(TextFile(tmp_path / "a.parquet", "a.parquet"), "a")) == ["one", "", "", "two"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.csv", "\nid,text,id\n1,a,2\n3,b,4\n", "x.csv:2 has 2 columns called 'id': rename them."),
        ("x.tsv", "text\ttext\ttext\na\tb\tc\n", "x.tsv:1 has 3 columns called 'text': rename them."),
        (
            "x.jsonl",
            '{"text": "a"}\n{"text": "a", "n": {"k": 1, "k": 2}}\n',
            "x.jsonl:2 is not valid JSON (the field 'k' ",
        ),
        ("x.jsonl", '{"text": "a", "text": "b"}\n', "the field 'text' is given twice"),
    ],
)
def test_duplicate_names_are_refused_by_every_reader(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_text(content)
    assert said in refusal(path, "text")
    for read_all in (read_records, read_texts):
        with pytest.raises(SmoothCSEError) as caught:
            list(read_all(TextFile(path, name)))
        assert said in str(caught.value)


def test_trailing_separators_in_the_header_are_ignored(tmp_path):
    path = tmp_path / "spreadsheet.csv"
    path.write_text("text,id,,\none,1,,\ntwo,2,,\n")
    assert read(path) == ["one", "two"]


def test_half_a_surrogate_pair_becomes_the_replacement_character(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": "cut \\ud83d"}\n{"text": "whole \\ud83d\\ude00"}\n')
    assert read(path) == ["cut \ufffd", "whole 😀"]


@pytest.mark.parametrize(
    ("columns", "wanted", "expected"),
    [("text,sentence", None, 1), ("a,text", None, 1), ("only", None, 0), ("a,b", "b", 1), ("text,b", "b", 1)],
)
def test_the_default_column(tmp_path, columns, wanted, expected):
    path = tmp_path / "corpus.csv"
    path.write_text(f"{columns}\n" + ",".join(["zero", "one"][: columns.count(",") + 1]) + "\n")
    assert read(path, wanted) == [["zero", "one"][expected]]


@pytest.mark.parametrize(
    ("name", "content", "column", "parts"),
    [
        ("x.csv", b"id,body\n1,a\n", "bdy", ["x.csv", "'bdy'", "'id', 'body'", "Did you mean 'body'?"]),
        ("x.csv", b"id,body\n1,a\n", None, ["x.csv", "'id', 'body'", "choose one with `column`"]),
        ("x.jsonl", b'{"a": 1}\n', None, ["x.jsonl:1", "no column of text", "'a'"]),
        ("x.jsonl", b'{"text": null, "id": "7"}\n', None, ["x.jsonl:1", "'text' does not contain text", "'id'"]),
        (
            "x.jsonl",
            b'{"t": "a"}\n{"t": 5}\n',
            None,
            ["x.jsonl:2", "'t' must be a string", "type int", "correct"],
        ),
        ("x.jsonl", b'{"t": "a"}\n\n{"u": "b"}\n', None, ["x.jsonl:3", "'t'", "missing"]),
        (
            "x.jsonl",
            b'{"t": "a"}\n{"t": \n',
            None,
            ["x.jsonl:2", "not valid JSON", "one JSON object on each line"],
        ),
        ("x.jsonl", b'["a"]\n', None, ["x.jsonl:1", "not a JSON object", '{"sentence": "..."}']),
        ("x.jsonl", b"[" * 100_000, None, ["x.jsonl:1", "not valid JSON"]),
        ("x.csv", b"id,text\n1,a\n2\n", None, ["x.csv:3", "1 fields", "header 2", "quote the fields"]),
        ("x.csv", b"text\na, b\n", None, ["x.csv:2", "2 fields", "header 1"]),
        ("x.tsv", b"id\ttext\n1\n", None, ["x.tsv:2", "1 fields"]),
        (
            "x.csv",
            b'text\n"never closed\nb\n',
            None,
            ["x.csv:3", "not valid CSV", "quote that is never closed"],
        ),
        (
            "x.txt",
            b"ok\ncaf\xe9 bar\n",
            None,
            ["x.txt:2", "not UTF-8 (byte 0xe9)", "iconv -f ISO-8859-1 -t UTF-8"],
        ),
        ("x.txt", b"ok\nfine\n\0\1", None, ["x.txt:3", "NUL byte", "binary"]),
        ("x.txt", "hello\n".encode("utf-16"), None, ["x.txt", "UTF-16", "iconv -f UTF-16"]),
        ("x.txt", gzip.compress(b"a\n", mtime=0), None, ["x.txt", "gzip data", ".txt.gz"]),
        ("x.jsonl", b"PAR1....", None, ["x.jsonl", "Parquet file", ".parquet"]),
        ("x.txt.gz", b"plain\n", None, ["x.txt.gz", "not valid gzip data", "again"]),
        ("x.txt.gz", gzip.compress(b"word " * 999, mtime=0)[:-12], None, ["x.txt.gz", "cut short", "again"]),
        ("x.txt.zst", b"plain text\n", None, ["x.txt.zst", "not valid zstd data", "again"]),
        (
            "x.txt.zst",
            packed(bytes(range(32, 127)) * 99, ".zst")[:-20],
            None,
            ["x.txt.zst", "cut short", "again"],
        ),
        ("x.parquet", b"PAR1 nonsense PAR1", None, ["x.parquet", "cannot be read as Parquet", "again"]),
    ],
)
def test_refusals(tmp_path, name, content, column, parts):
    path = tmp_path / name
    path.write_bytes(content)
    message = refusal(path, column)
    assert [part for part in parts if part not in message] == [], message


def test_parquet_column_that_is_not_text(tmp_path):
    pq.write_table(pa.table({"n": [1], "text": ["a"]}), tmp_path / "x.parquet")
    message = refusal(tmp_path / "x.parquet", "n")
    assert "x.parquet" in message
    assert "column 'n' does not contain text; choose one that does: 'text'" in message


def test_an_endless_line_is_refused_before_memory_runs_out(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "LONGEST_LINE", 3 << 20)
    path = tmp_path / "x.txt.gz"
    path.write_bytes(gzip.compress(b"short\n" + b"x" * (64 << 20), mtime=0))
    message = refusal(path)
    assert "x.txt.gz:2 is longer than 3 MB" in message
    assert "one sentence on each line" in message


def test_unreadable_file(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(blocks.pa, "input_stream", refuse)
    (tmp_path / "x.txt").write_text("a\n")
    message = refusal(tmp_path / "x.txt")
    assert "x.txt cannot be read: permission denied" in message
    assert "chmod" in message


@pytest.mark.parametrize("name", ["a.TXT", "a.jsonl.gz", "a.csv.zst", "a.parquet"])
def test_supported_names(name):
    assert is_supported(name)


@pytest.mark.parametrize("name", ["a.png", "a.gz", "a", "a.parquet.gz", "a.txt.bz2"])
def test_unsupported_names(name):
    assert not is_supported(name)
