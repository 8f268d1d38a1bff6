"""Change, kill, reopen and search an index in any order, and compare it with a dictionary of documents.

A few short sequences run with all tests. To run many long ones::

    SMOOTHCSE_STATEFUL=500 pytest tests/stateful/test_index.py
"""

from __future__ import annotations

import operator
import os
import shutil
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rich.console import Console

from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError

pytest.importorskip("lancedb", reason="needs the extra 'search'")

from lancedb.table import LanceTable

from smoothcse.search import Document, Index, index, index_writer, store, table_indexes
from smoothcse.search.index_record import IndexRecord

HISTORIES = int(os.environ.get("SMOOTHCSE_STATEFUL", "0"))
COMMIT, WIDTH = 3, 32
QUIET = Console(quiet=True)
STEPS = (
    (IndexRecord, "write"),
    (index, "remove_index"),
    (LanceTable, "add_columns"),
    (LanceTable, "merge_insert"),
    (LanceTable, "delete"),
    (LanceTable, "create_index"),
    (LanceTable, "optimize"),
)
"""Atomic writing functions; a kill comes between two of them."""

FIELDS = {
    "year": st.integers(2000, 2005),
    "a.b`c": st.sampled_from(["x", "it's", "ß"]),
    "_rowid": st.booleans(),
    "f": st.sampled_from([-0.5, 0.5, 1e-7, 1.5]),
}
SIGNS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
WORDS = {"!=": "ne", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}

documents_ = st.lists(
    st.builds(
        Document,
        text=st.sampled_from([f"text {n}" for n in range(40)]),
        id=st.sampled_from([f"id '{n}`" for n in range(14)]),
        metadata=st.fixed_dictionaries({}, optional=FIELDS),
    ),
    min_size=1,
    max_size=8,
)
comparisons = st.sampled_from(list(FIELDS)).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(list(SIGNS)), FIELDS[name])
)


class Killed(BaseException):
    """Stands for the end of the process; no handler may write to the disk afterwards."""


@contextmanager
def killed_at(step):
    """Raise ``Killed`` at the write number ``step`` and at all later ones."""
    left, originals = [step], {(owner, name): getattr(owner, name) for owner, name in STEPS}

    def fused(original):
        def write(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return original(*arguments, **options)

        return write

    for (owner, name), original in originals.items():
        setattr(owner, name, fused(original))
    try:
        yield
    except Killed:
        pass
    finally:
        for (owner, name), original in originals.items():
            setattr(owner, name, original)


def vectors_of(texts):
    rows = [np.random.default_rng(xxhash.xxh3_64_intdigest(text.encode())).standard_normal(WIDTH) for text in texts]
    return np.array(rows, np.float32).reshape(len(rows), WIDTH)


def batches(items):
    return [items[start : start + COMMIT] for start in range(0, len(items), COMMIT)]


class Change:
    """A command with its effect on an index and on a dictionary, commit by commit."""

    def __init__(self, kind, items):
        self.kind, self.items, self.source = kind, items, f"/data/{kind}-{len(items)}"

    def run(self, path, opened, model):
        if self.kind == "build":
            Index.build(path, model, iter(self.items), source=self.source, console=QUIET)
        elif self.kind == "update":
            opened.update(iter(self.items), source=self.source, console=QUIET)
        else:
            opened.delete([document.id for document in self.items], source=self.source)

    def states(self, held):
        """Return the contents before the change and after each commit."""
        found = [held]
        for batch in batches(self.items):
            held = dict(held)
            new = {document.id: document for document in batch}
            for id, document in new.items():
                if self.kind == "delete":
                    held.pop(id, None)
                elif self.kind == "update" or id not in held:
                    held[id] = (document.text, document.metadata)
            found.append(held)
        return found


class IndexMachine(RuleBasedStateMachine):
    """The index and its expected state: documents by id, and the sources of interrupted changes."""

    name = model = None

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="smoothcse-stateful-"))
        self.path = self.folder / "docs.index"
        self.held, self.unfinished, self.cut_off, self.opened = {}, set(), {}, None

    def teardown(self):
        shutil.rmtree(self.folder)

    @initialize(items=documents_)
    def build(self, items):
        self.change(Change("build", items))

    @rule(kind=st.sampled_from(["build", "update", "delete"]), items=documents_)
    def change_to_the_end(self, kind, items):
        if self.opened is not None or kind == "build":
            self.change(Change(kind, items))

    @rule(kind=st.sampled_from(["build", "update", "delete"]), items=documents_, step=st.integers(0, 6))
    def change_and_die(self, kind, items, step):
        if self.opened is None and kind != "build":
            return
        change = Change(kind, items)
        with killed_at(step):
            change.run(self.path, self.opened, self.name)
        self.reopen()
        self.settle(change)

    @precondition(lambda self: self.cut_off)
    @rule(data=st.data())
    def go_on(self, data):
        change = self.cut_off[data.draw(st.sampled_from(sorted(self.cut_off)))]
        if self.opened is not None or change.kind == "build":
            self.change(change)

    @precondition(lambda self: self.opened is not None)
    @rule(items=documents_, place=st.integers(0, 7))
    def add_a_document_that_does_not_fit(self, items, place):
        if "year" not in self.opened.fields:
            return
        change = Change("update", [*items[:place], Document("text", "broken", {"year": "soon"}), *items[place:]])
        with pytest.raises(SmoothCSEError, match="Document 'broken' has 'soon' in the field 'year'"):
            change.run(self.path, self.opened, self.name)
        assert "broken" not in self.stored()
        self.settle(change)

    @rule()
    def reopen(self):
        there = (self.path / "index.json").is_file()
        self.opened = Index._open(self.path, self.model) if there else None

    @precondition(lambda self: self.opened is not None)
    @rule(query=st.integers(0, 99), k=st.integers(1, 20), exact=st.booleans())
    def search(self, query, k, exact):
        self.compare(query, k, None, lambda _: True, exact)

    @precondition(lambda self: self.opened is not None)
    @rule(query=st.integers(0, 99), conditions=st.lists(comparisons, min_size=1, max_size=3, unique_by=lambda c: c[0]))
    def search_with_a_mapping(self, query, conditions):
        where = {name: value if sign == "=" else {WORDS[sign]: value} for name, sign, value in conditions}
        self.filtered(query, where, conditions, lambda row: conjunction([holds(row, *one) for one in conditions]))

    @precondition(lambda self: self.opened is not None)
    @rule(query=st.integers(0, 99), conditions=st.lists(comparisons, min_size=2, max_size=2))
    def search_with_a_condition(self, query, conditions):
        first, second = map(written, conditions)
        self.filtered(
            query,
            f"NOT ({first} AND {second})",
            conditions,
            lambda row: negation(conjunction([holds(row, *one) for one in conditions])),
        )

    @invariant()
    def holds_what_it_was_given(self):
        if self.opened is None:
            assert not self.held
            return
        assert len(self.opened) == len(self.held)
        assert self.stored() == self.held
        assert set(self.opened.record.unfinished) == self.unfinished
        assert bool(self.opened.incomplete) == bool(self.unfinished)

    def change(self, change):
        change.run(self.path, self.opened, self.name)
        self.held = change.states(self.held)[-1]
        self.unfinished.discard(change.source)
        self.cut_off.pop(change.source, None)
        if self.opened is None:
            self.reopen()

    def settle(self, change):
        """Accept the result of an interrupted change if it is an intermediate state and is marked as incomplete."""
        stored, states = self.stored(), change.states(self.held)
        assert stored in states
        marked = set(self.opened.record.unfinished) if self.opened else set()
        assert marked - {change.source} == self.unfinished - {change.source}
        if stored != self.held and stored != states[-1]:
            assert change.source in marked
        self.held, self.unfinished = stored, marked
        if change.source in marked and not any(document.id == "broken" for document in change.items):
            self.cut_off[change.source] = change

    def stored(self):
        if self.opened is None:
            return {}
        documents, _ = self.opened.sample(10_000)
        found = {document.id: (document.text, document.metadata) for document in documents}
        assert len(found) == len(documents)  # no duplicates
        return found

    def filtered(self, query, where, conditions, kept):
        if all(name in self.opened.fields for name, _, _ in conditions):
            self.compare(query, 20, where, kept, exact=True)
        else:
            with pytest.raises(SmoothCSEError, match=r"The index has no field .* \(fields: id.*\)\."):
                self.opened.search("a query", where=where)

    def compare(self, query, k, where, kept, exact):
        """Compare a search with an exact search over all vectors."""
        hits = self.opened.search(f"query {query}", k, where=where, exact=exact, cosine_weight=1)
        assert all(self.held[hit.id] == (hit.text, hit.metadata) for hit in hits)
        texts = {id: text for id, (text, metadata) in self.held.items() if kept(metadata) is True}
        assert {hit.id for hit in hits} <= set(texts)
        rows = vectors_of([f"query {query}", *texts.values()])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        expected = np.sort(rows[1:] @ rows[0])[::-1][:k]
        assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-5)
        fused = self.opened.search(f"query {query}", k, where=where, exact=exact)
        assert all(self.held[hit.id] == (hit.text, hit.metadata) for hit in fused)
        assert {hit.id for hit in fused} <= set(texts)
        assert len(fused) == len(hits)


def holds(row, name, sign, value):
    return SIGNS[sign](row[name], value) if name in row else None


def conjunction(values):
    """Return the conjunction in SQL's three-valued logic, in which a missing value is unknown."""
    return False if False in values else None if None in values else True


def negation(value):
    return None if value is None else not value


def written(comparison):
    name, sign, value = comparison
    shown = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
    return f'"{name}" {sign} {shown}'


def test_an_index_equals_a_dictionary_of_documents(tiny_bert, monkeypatch):
    model = load_encoder(tiny_bert)
    monkeypatch.setattr(index_writer.IndexWriter, "COMMIT", COMMIT)
    monkeypatch.setattr(table_indexes, "MAX_FRAGMENTS", 4)
    monkeypatch.setattr(store, "STALE", timedelta(0))
    monkeypatch.setattr(index, "load_encoder", lambda *_: model)
    monkeypatch.setattr(index, "encode", lambda _, texts, *__, **___: vectors_of(texts))
    monkeypatch.setattr(IndexMachine, "name", tiny_bert)
    monkeypatch.setattr(IndexMachine, "model", model)
    machine = IndexMachine.TestCase
    machine.settings = settings(
        max_examples=HISTORIES or 6,
        stateful_step_count=40 if HISTORIES else 14,
        derandomize=not HISTORIES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
