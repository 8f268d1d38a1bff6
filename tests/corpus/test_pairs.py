"""Labelled pairs and triplets: requested columns and complete rows, from every format with columns."""

from __future__ import annotations

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smoothcse.corpus import CorpusReport, load_sentences
from smoothcse.errors import SmoothCSEError

HEADER = ("id", "sent0", "sent1", "hard_neg")
ROWS = [
    ("1", "A  man eats.", "A man, eating.", "Nobody eats."),
    ("2", "A man eats.", "", "A cell is empty."),
    ("3", "A man eats.", "A man, eating.", "Nobody eats."),  # equals row 1 after cleaning
    ("4", "A man eats.", "Someone eats.", "Nobody eats."),
    ("5", "Dogs run.", "Animals move.", "Dogs sleep."),
]
COLUMNS = ["sent0", "sent1", "hard_neg"]


def write(path, rows=ROWS):
    kind = path.suffix
    if kind == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(HEADER, row, strict=True))) + "\n" for row in rows))
    elif kind == ".parquet":
        columns = [[value or None for value in column] for column in zip(*rows, strict=True)]
        pq.write_table(pa.table(dict(zip(HEADER, columns, strict=True))), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter="," if kind == ".csv" else "\t").writerows([HEADER, *rows])
    return path


def refusal(source, **options):
    with pytest.raises(SmoothCSEError) as caught:
        load_sentences(source, **options)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_rows_are_kept_complete_and_without_duplicates(suffix, tmp_path):
    corpus = load_sentences(write(tmp_path / f"nli{suffix}"), columns=COLUMNS)
    assert corpus.dataset[:] == {
        "sentence": ["A man eats.", "A man eats.", "Dogs run."],
        "positive": ["A man, eating.", "Someone eats.", "Animals move."],
        "hard_negative": ["Nobody eats.", "Nobody eats.", "Dogs sleep."],
    }
    report = corpus.report
    assert (report.read, report.kept, report.unit) == (5, 3, "triplets")
    assert {reason: count for reason, count in report.dropped.items() if count} == {"empty": 1, "duplicate": 1}
    assert CorpusReport.from_dict(json.loads(json.dumps(report.as_dict()))) == report


def test_columns_are_in_the_requested_order(tmp_path):
    for suffix in (".csv", ".parquet"):
        corpus = load_sentences(write(tmp_path / f"nli{suffix}"), columns=["hard_neg", "sent0"])
        assert corpus.dataset.column_names == ["sentence", "positive"]
        assert corpus.dataset[0] == {"sentence": "Nobody eats.", "positive": "A man eats."}
        assert corpus.report.unit == "pairs"


def test_pairs_and_a_single_column_of_one_file_are_different_corpora(tmp_path):
    path = write(tmp_path / "nli.csv")
    assert len(load_sentences(path, columns=COLUMNS)) == 3
    single = load_sentences(path, column="sent0")
    assert single.dataset["sentence"][:] == ["A man eats.", "Dogs run."]
    assert single.report.unit == "sentences"


def test_length_limits_apply_to_each_text_of_a_row(tmp_path):
    rows = [("1", "abc", "abcd", "ab"), ("2", "abc", "a", "ab"), ("3", "abc", "abcdef", "a"), ("4", "ab", "cd", "ef")]
    rows.append(("5", "ab", "abcdef", "ef"))
    corpus = load_sentences(write(tmp_path / "nli.csv", rows), columns=COLUMNS, min_chars=2, max_chars=4)
    assert (corpus.report.dropped["too short"], corpus.report.dropped["too long"]) == (2, 1)
    assert corpus.dataset["positive"][:] == ["abcd", "cd"]


def test_rows_with_the_same_words_in_other_columns_are_different(tmp_path):
    """("a b", "c") and ("a", "b c") are two rows, and so are (a, b) and (b, a)."""
    rows = [("1", "a b", "c", "x"), ("2", "a", "b c", "x"), ("3", "c", "a b", "x")]
    assert len(load_sentences(write(tmp_path / "nli.csv", rows), columns=["sent0", "sent1"])) == 3


@pytest.mark.parametrize(
    ("name", "content", "options", "parts"),
    [
        ("x.csv", "sent0,sent1\na,b\nc\n", {"columns": ["sent0", "sent1"]}, ["x.csv:3", "1 fields, the header 2"]),
        ("x.csv", "sent0,sent1\na,b\n", {"columns": ["sent0", "sent2"]}, ["no column 'sent2'", "Did you mean 'sent"]),
        ("x.jsonl", '{"a": "b"}\n', {"columns": ["a", "c"]}, ["x.jsonl:1", "no column 'c'"]),
        ("x.jsonl", '{"a": "b", "c": "d"}\n{"a": "b"}\n', {"columns": ["a", "c"]}, ["x.jsonl:2", "'c'", "missing"]),
        ("x.txt", "a\nb\n", {"columns": ["a", "b"]}, ["plain text", "leave out `columns`"]),
        ("x.csv", "a,b\n1,2\n", {"columns": ["a", "b"], "column": "a"}, ["give one of them"]),
        ("x.csv", "a,b\n1,2\n", {"columns": ["a", "b", "a", "b"]}, ["too many"]),
        ("x.csv", "a,b\n1,2\n1,2\n", {"columns": ["a", "b"]}, ["one distinct row in 2 read"]),
    ],
)
def test_refusals(tmp_path, name, content, options, parts):
    (tmp_path / name).write_text(content)
    message = refusal(tmp_path / name, **options)
    assert [part for part in parts if part not in message] == [], message


def test_a_plain_text_beside_pairs_is_refused(tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"a": "b", "c": "d"}\n{"a": "e", "c": "f"}\n')
    (tmp_path / "notes.txt").write_text("a\nb\n")
    assert "notes.txt is plain text and has no column 'a': leave out `columns`" in refusal(
        tmp_path, columns=["a", "c"]
    )
