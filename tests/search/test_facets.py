"""Facets: counts of values and ranges, among the documents that the other conditions leave."""

from __future__ import annotations

import math

import pytest
from rich.console import Console

from tiny import sentences

pytest.importorskip("lancedb", reason="needs the extra 'search'")

from smoothcse.errors import SmoothCSEError
from smoothcse.search import Document, Index, facets
from smoothcse.search.facets import Facet

FIELDS = [
    {"topic": "cats", "year": 2001, "day": "2024-03-01", "a.b": True, "weight": 0.5},
    {"topic": "cats", "year": 2003, "day": "2024-01-02", "a.b": False, "weight": math.nan},
    {"topic": "dogs", "year": 2002, "day": "2023-12", "a.b": True, "weight": 2.5},
    {"topic": "towns", "year": 2003, "day": "2024-02-01 10:00"},
]


@pytest.fixture(scope="module")
def index(tiny_bert, tmp_path_factory):
    documents = [Document(text, str(row), FIELDS[row]) for row, text in enumerate(sentences(4))]
    return Index.build(tmp_path_factory.mktemp("facets") / "i", tiny_bert, documents, console=Console(quiet=True))


def test_each_field_has_its_values_and_its_range(index):
    assert index.facets() == [
        Facet("topic", "text", (("cats", 2), ("dogs", 1), ("towns", 1)), 3),
        Facet("year", "whole numbers", ((2003, 2), (2001, 1), (2002, 1)), 3, 2001, 2003),
        Facet(
            "day",
            "dates",
            (("2023-12", 1), ("2024-01-02", 1), ("2024-02-01 10:00", 1), ("2024-03-01", 1)),
            4,
            "2023-12",
            "2024-03-01",
        ),
        Facet("a.b", "true or false", ((True, 2), (False, 1)), 2),
        Facet("weight", "numbers", ((0.5, 1), (2.5, 1)), 2, 0.5, 2.5),
    ]
    assert index.facets(values=1)[0] == Facet("topic", "text", (("cats", 2),), 3)


def test_a_field_is_counted_without_its_own_condition(index):
    where = {"topic": ["cats", "dogs"], "year": {"gte": 2002}}
    found = {facet.name: facet for facet in index.facets(where)}
    assert found["topic"].values == (("cats", 1), ("dogs", 1), ("towns", 1))
    assert found["year"].values == ((2001, 1), (2002, 1), (2003, 1))
    assert found["a.b"].values == ((False, 1), (True, 1))
    assert index.count(where) == 2
    assert index.count() == 4
    assert [facet.name for facet in index.facets({"year": 2003, "topic": "towns"})] == ["topic", "year", "day"]
    assert index.facets({"id": "1"})[0].values == (("cats", 1),)
    with pytest.raises(SmoothCSEError, match=r"no field 'yeer' \(fields: id, topic, year"):
        index.facets({"yeer": 1})


def test_facets_are_counted_once_until_documents_come_or_go(tiny_bert, tmp_path, monkeypatch):
    documents = [Document(text, str(row), FIELDS[row]) for row, text in enumerate(sentences(4))]
    index = Index.build(tmp_path / "i", tiny_bert, documents, console=Console(quiet=True))
    counted = []
    count = facets.find_facets
    monkeypatch.setattr(facets, "find_facets", lambda *asked: counted.append(asked[1:]) or count(*asked))

    def topics(where=None):
        return dict(next(facet for facet in index.facets(where) if facet.name == "topic").values)

    asked = [None, {"year": 2003}, {"year": [2003]}, {"year": {"gte": 2003}}, {"a.b": True}]
    first = [topics(where) for where in asked]
    index.facets().clear()  # a caller's list is the caller's own
    assert [topics(where) for where in asked] == first
    assert len(counted) == len(asked)
    index.add([Document("a new text", "new", {"topic": "cats", "year": 2003})])
    assert [topics(), topics({"year": 2003})] == [{"cats": 3, "dogs": 1, "towns": 1}, {"cats": 2, "towns": 1}]
    Index.open(tmp_path / "i", index.model).delete(["new", "3"])  # as another process does
    assert [topics(), topics({"year": 2003})] == [{"cats": 2, "dogs": 1}, {"cats": 1}]
    assert len(counted) == len(asked) + 4


def test_few_filters_are_kept(index, monkeypatch):
    monkeypatch.setattr(facets, "FILTERS", 2)
    for year in (2001, 2002, 2003, 2001):
        assert next(facet.name for facet in index.facets({"year": year})) == "topic"
        assert len(index._facets._known[1]) <= 2


def test_a_kept_filter_is_not_counted_again_where_no_more_are_kept(index, monkeypatch):
    monkeypatch.setattr(facets, "FILTERS", 2)
    counted, count = [], facets.find_facets
    monkeypatch.setattr(facets, "find_facets", lambda *asked: counted.append(asked[1]) or count(*asked))
    years = [{"year": year} for year in (1990, 1991, 1990, 1991, 1992)]
    for where in years:
        index.facets(where)
    assert counted == [years[0], years[1], years[4]]
