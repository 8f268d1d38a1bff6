"""Processes that are killed while they index, and several that index at once."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from rich.console import Console

from forked import FORKED
from smoothcse.encoders.inference import encode
from smoothcse.errors import SmoothCSEError
from tiny import sentences

pytest.importorskip("lancedb", reason="needs the extra 'search'")

from smoothcse.search import Document, Index, index, index_writer, store, table_indexes
from smoothcse.search.index_record import IndexRecord

QUIET = Console(quiet=True)
ALL = 400
COMMIT = 20


def started(target, *arguments):
    process = FORKED.Process(target=target, args=arguments)
    process.start()
    return process


def build_slowly(path, model):
    def slowly():
        for text in sentences(ALL):
            time.sleep(0.005)
            yield Document(text)

    index_writer.IndexWriter.COMMIT = COMMIT
    Index.build(path, model, slowly(), console=QUIET)


def test_a_kill_while_indexing_loses_no_committed_document(tiny_bert, tmp_path, monkeypatch):
    path = tmp_path / "docs.index"
    process = started(build_slowly, path, tiny_bert)
    committed = 0
    while committed < 3 * COMMIT and process.is_alive():
        time.sleep(0.02)
        if (path / "index.json").is_file():
            with pytest.warns(UserWarning, match="is incomplete"):
                committed = len(Index.open(path))  # whoever reads is not locked out
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with pytest.warns(UserWarning, match="is incomplete"):
        opened = Index.open(path)
    there = len(opened)
    assert 3 * COMMIT <= committed <= there < ALL
    assert there % COMMIT == 0  # whole commits, and nothing of the one that was under way
    stored, vectors = opened.sample(there)
    assert {document.text for document in stored} == set(sentences(ALL)[:there])
    expected = encode(opened.model, [document.text for document in stored], normalize=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)

    encoded = []
    monkeypatch.setattr(index, "encode", lambda model, texts, *_, **__: encoded.extend(texts) or encode(model, texts))
    opened = Index.build(path, tiny_bert, map(Document, sentences(ALL)), console=QUIET)  # the same command again
    assert (len(opened), opened.incomplete) == (ALL, None)
    assert encoded == sentences(ALL)[there:]


def build_and_die(path, model, moment):
    """Be killed before there is a record, or when all documents are there and the vector index is due."""

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    table_indexes.APPROXIMATE_FROM = 500
    if moment == "record":
        IndexRecord.write = die
    else:
        store.Store.build_vector_index = die
    Index.build(path, model, map(Document, sentences(600)), console=QUIET)


@pytest.mark.parametrize(("moment", "there"), [("record", None), ("vector index", 600)])
def test_a_kill_at_the_worst_moment(moment, there, tiny_bert, tmp_path, monkeypatch):
    path = tmp_path / "docs.index"
    process = started(build_and_die, path, tiny_bert, moment)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    if there is None:
        with pytest.raises(SmoothCSEError, match="holds no index"):
            Index.open(path)
    else:
        with pytest.warns(UserWarning, match="is incomplete"):
            assert len(Index.open(path)) == there
    monkeypatch.setattr(table_indexes, "APPROXIMATE_FROM", 500)
    opened = Index.build(path, tiny_bert, map(Document, sentences(600)), console=QUIET)
    assert len(opened) == 600
    assert {found.index_type for found in opened._store._table.list_indices()} == {"IvfRq", "FTS"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["docs.index"]


def write_until_told(path, model, texts, ready, go):
    def slowly():
        yield Document(texts[0])
        ready.release()
        go.wait()
        yield from map(Document, texts[1:])

    Index.open(path, model).add(slowly(), console=QUIET)


def test_one_process_writes_at_a_time_and_the_other_is_told_whom_to_wait_for(tiny_bert, tmp_path):
    path, texts = tmp_path / "docs.index", sentences(60)
    opened = Index.build(path, tiny_bert, map(Document, texts[:10]), console=QUIET)
    ready, go = FORKED.Semaphore(0), FORKED.Event()
    process = started(write_until_told, path, tiny_bert, texts[10:40], ready, go)
    assert ready.acquire(timeout=120)
    more = [Document(text) for text in texts[30:]]
    for change in (
        lambda: opened.add(more, console=QUIET),
        lambda: opened.delete([more[0].id]),
        lambda: opened.requantise("int8"),
        lambda: Index.build(path, tiny_bert, more, console=QUIET),
    ):
        with pytest.raises(
            SmoothCSEError, match=rf"docs.index is in use by process {process.pid} on .*; wait until it"
        ):
            change()
    assert len(opened.search("a cat", k=99)) == len(opened) == 10
    assert "incomplete" in opened.incomplete
    go.set()
    process.join()
    assert process.exitcode == 0
    opened.add(more, console=QUIET)
    assert sorted(document.text for document in opened.sample(999)[0]) == sorted(texts)
    assert opened.incomplete is None


def test_a_stale_look_at_an_index_doubles_nothing(tiny_bert, tmp_path):
    path = tmp_path / "docs.index"
    first = Index.build(path, tiny_bert, map(Document, sentences(10)), console=QUIET)
    second = Index.open(path)
    for opened in (first, second, first):
        opened.add(map(Document, sentences(20)), console=QUIET)
    assert len(first) == 20
    first.delete([Document(sentences(1)[0]).id])
    second.add([Document("a new cat", metadata={"year": 2020})], console=QUIET)
    first.add([Document("another new cat", metadata={"year": 2021}), Document("a mat")], console=QUIET)
    assert len(first) == 22


def test_a_disk_that_refuses_is_told_in_a_sentence(tiny_bert, tmp_path, monkeypatch):
    opened = Index.build(tmp_path / "docs.index", tiny_bert, map(Document, sentences(10)), console=QUIET)

    def refuse(*_):
        raise OSError("LanceError(IO): No space left on device\nbacktrace")

    monkeypatch.setattr(type(opened._store._table), "merge_insert", refuse)
    with pytest.raises(SmoothCSEError, match=r"holds what it held before: LanceError.*No space left on device$"):
        opened.add([Document("a new cat")], console=QUIET)
    assert (len(opened), opened.incomplete) == (10, None)
