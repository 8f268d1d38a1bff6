"""Cleaning, de-duplication and sampling against plain Python, on whatever text hypothesis thinks of."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse.corpus.cleaning import clean, first_occurrences, hash_sentences
from smoothcse.corpus.corpus_report import CorpusReport
from smoothcse.corpus.pipeline import Options, build

# Few letters, so that sentences meet again, composed and decomposed; odd blanks, controls; all of Unicode.
TRICKY = st.sampled_from("ab e\u0301\u00e9\t\u00a0\u2028\u200b\ufeff\x00\x07\x85\u3000\uac00\u1100\u1161")
ANY = st.characters(exclude_categories=("Cs", "Cn"))
SENTENCES = st.lists(st.text(st.one_of(TRICKY, TRICKY, ANY), max_size=6), max_size=30)


def naive_clean(text: str) -> str:
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in composed).split())


def naive_keep(texts: list[str], low: int = 1, high: int = 10**9) -> list[str]:
    return list(dict.fromkeys(s for s in map(naive_clean, texts) if low <= len(s) <= high))


def cleaned(texts: list[str]) -> list[str]:
    return clean(pa.array(texts, pa.string())).to_pylist()


def chunks(texts: list[str], size: int) -> Iterator[pa.RecordBatch]:
    return (pa.record_batch({"0": pa.array(texts[i : i + size], pa.string())}) for i in range(0, len(texts), size))


def run_build(texts: list[str], size: int = 7, options: Options | None = None) -> tuple[list[str], CorpusReport]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "out.arrow")
        report = build("test", chunks(texts, size), target, options or Options())
        with pa.OSFile(str(target)) as file:
            return pa.ipc.open_stream(file).read_all()["sentence"].to_pylist(), report


@settings(max_examples=60, deadline=None)
@given(SENTENCES)
def test_cleaning_equals_plain_python_and_is_idempotent(texts):
    once = cleaned(texts)
    assert once == [naive_clean(text) for text in texts]
    assert cleaned(once) == once


@settings(max_examples=60, deadline=None)
@given(SENTENCES)
def test_cleaning_works_on_a_slice(texts):
    assert clean(pa.array(["x", *texts], pa.string())[1:]).to_pylist() == [naive_clean(t) for t in texts]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9)))
def test_first_occurrences_keep_order(values):
    kept = first_occurrences(np.array(values, np.uint64))
    assert [values[i] for i in kept] == list(dict.fromkeys(values))


def test_hashes_equal_the_published_value():
    # XXH3-64 of the empty input with seed 0, as published with the algorithm: the fingerprint must not drift.
    assert hash_sentences(pa.array([""]))[0] == 0x2D06800538D394C2


@settings(max_examples=60, deadline=None)
@given(SENTENCES.map(lambda texts: [*texts, "first", "second"]), st.integers(1, 4), st.integers(4, 6))
def test_build_equals_plain_python(texts, low, high):
    kept, report = run_build(texts, options=Options(min_chars=low, max_chars=high + 2))
    assert kept == naive_keep(texts, low, high + 2)
    assert report.read == len(texts)
    assert report.kept == len(kept) == report.read - sum(report.dropped.values())


@settings(max_examples=60, deadline=None)
@given(SENTENCES.map(lambda texts: [*texts, "x", "y", "z"]), st.integers(1, 40), st.integers(2, 9))
def test_the_result_is_independent_of_the_batch_size(texts, size, limit):
    options = Options(limit=limit)
    assert run_build(texts, size, options) == run_build(texts, 1, options)


def test_the_limit_draws_an_ordered_sample_from_the_seed():
    texts = [f"sentence {i}" for i in range(1000)]
    sample, report = run_build(texts, options=Options(limit=50, seed=3))
    assert sample == run_build(texts, options=Options(limit=50, seed=3))[0]
    assert sample != run_build(texts, options=Options(limit=50, seed=4))[0]
    assert sample == [text for text in texts if text in sample]
    assert sample != texts[:50]
    assert (report.kept, report.dropped["over the limit"]) == (50, 950)


def test_a_limit_beyond_the_corpus_keeps_all():
    assert run_build(["a", "b", "c"], options=Options(limit=9))[0] == ["a", "b", "c"]


def test_each_reason_is_counted():
    _, report = run_build(
        ["", " \t", "a", "long enough", "Long  enough", "long enough", "x" * 50, "another one"],
        options=Options(min_chars=2, max_chars=20),
    )
    assert report.dropped == {"empty": 2, "too short": 1, "too long": 1, "duplicate": 1, "over the limit": 0}


@pytest.mark.parametrize("other", [["a", "c"], ["b", "a"], ["a", "b", "c"], ["ab", ""]])
def test_the_fingerprint_depends_on_content_and_order_only(other):
    _, report = run_build(["a", "b"])
    assert report.fingerprint == run_build(["a ", "a", "", "b"])[1].fingerprint
    assert report.fingerprint != run_build([*other, "zz"])[1].fingerprint
    assert report.fingerprint == "d6e261bcbe244f330a9164cb18d7811c"
