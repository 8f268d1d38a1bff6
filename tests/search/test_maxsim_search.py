"""A reranked search has the order and the scores of the evaluation's reranking, over the same candidates."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from smoothcse.cli import main
from smoothcse.encoders.inference import encode
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.maxsim import first_candidates, late_interaction, rerank
from smoothcse.runs.search_settings import SearchSettings, write_search_settings
from tiny import sentences

pytest.importorskip("lancedb", reason="needs the extra 'search'")

from smoothcse.search import Document, Index

QUIET = Console(quiet=True)
TEXTS = sentences(80)
QUERIES = sentences(3, seed=9)


@pytest.fixture(scope="module")
def index(tiny_bert, tmp_path_factory):
    documents = [Document(text, str(row), {"year": 2000 + row % 7}) for row, text in enumerate(TEXTS)]
    path = tmp_path_factory.mktemp("maxsim") / "docs.index"
    return Index.build(path, tiny_bert, documents, pooling="mean", console=QUIET)


def expected(index, query, **options) -> list[tuple[str, float]]:
    """The evaluation's reranking of all documents that match; those behind the candidates keep their score."""
    first = index.search(query, k=len(TEXTS), **options)
    scores = np.array([[hit.score for hit in first]])
    candidates = first_candidates(scores)
    late = late_interaction(index.model, [query], [hit.text for hit in first], candidates)
    combined = rerank(scores, candidates, late)[0]
    order = sorted(range(len(first)), key=lambda place: -combined[place])
    return [(first[place].id, combined[place] if place < 50 else first[place].score) for place in order]


@pytest.mark.parametrize(
    ("k", "options"),
    [
        (80, {}),
        (60, {"cosine_weight": 1}),
        (5, {"cosine_weight": 0.3}),
        (5, {"where": {"year": [2003, 2004]}}),  # 22 documents, fewer than are compared
        (10, {"where": "year = 2001", "threshold": -0.5}),
    ],
)
def test_order_and_scores_are_those_of_the_evaluation(index, k, options):
    for query, hits in zip(QUERIES, index.search(QUERIES, k=k, rerank="maxsim", **options), strict=True):
        known = expected(index, query, **options)[:k]
        assert [hit.id for hit in hits] == [name for name, _ in known]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in known], abs=1e-3)
        assert hits == index.search(query, k=k, rerank="maxsim", **options)


def test_reranking_changes_the_order_and_nothing_else(index):
    [query, *_] = QUERIES
    before = {hit.id: hit for hit in index.search(query, k=80)}
    after = index.search(query, k=80, rerank="maxsim")
    assert [hit.id for hit in after] != list(before)
    assert after[50:] == list(before.values())[50:]
    assert [replace(hit, score=0) for hit in after] == [replace(before[hit.id], score=0) for hit in after]
    assert index.search(query, where={"year": 1}, rerank="maxsim") == []


def test_the_recommendation_of_the_model_is_recorded_and_followed(tiny_bert, tmp_path, monkeypatch, capsys):
    model, path = shutil.copytree(tiny_bert, tmp_path / "model"), tmp_path / "docs.index"
    found = [Document(text) for text in TEXTS[:20]]
    built = Index.build(path, str(model), found, console=QUIET)
    assert (built.rerank, built.search(QUERIES)) == ("none", built.search(QUERIES, rerank="none"))
    write_search_settings(model, SearchSettings(cosine_weight=0.7, rerank="maxsim"))
    (tmp_path / "docs.txt").write_text("\n".join(TEXTS[:20]))
    said = {}
    for name, arguments in {
        "index": ["index", str(model), str(tmp_path / "docs.txt"), "-o", str(path)],
        "search": ["search", str(path), QUERIES[0]],
        "without": ["search", str(path), QUERIES[0], "--rerank", "none"],
    }.items():
        monkeypatch.setattr("sys.argv", ["smoothcse", *arguments])
        with pytest.raises(SystemExit):
            main()
        said[name] = capsys.readouterr().out
    assert "(MaxSim), as the model recommends" in said["index"]
    assert "ms with MaxSim, which the model recommends; --rerank none leaves it out." in " ".join(
        said["search"].split()
    )
    assert "MaxSim" not in said["without"]
    opened = Index.open(path)
    assert opened.rerank == "maxsim"
    assert opened.search(QUERIES) == opened.search(QUERIES, rerank="maxsim") != opened.search(QUERIES, rerank="none")
    assert opened.search(encode(opened.model, QUERIES))  # vectors are not reranked


def test_the_command_prints_the_time(index, monkeypatch, capsys):
    for options, shown in ((["--rerank", "maxsim"], True), ([], False)):
        monkeypatch.setattr("sys.argv", ["smoothcse", "search", str(index.path), QUERIES[0], "-k", "2", *options])
        with pytest.raises(SystemExit) as left:
            main()
        out = capsys.readouterr().out
        assert not left.value.code
        assert ("ms with MaxSim." in out) is shown
        assert out.count("year: ") == 2


def test_what_cannot_be_reranked_is_refused(index, tmp_path, monkeypatch):
    with pytest.raises(SmoothCSEError, match="Query vectors have no tokens"):
        index.search(encode(index.model, QUERIES), rerank="maxsim")
    with pytest.raises(SmoothCSEError, match="no reranking 'colbert'; choose one of maxsim, none"):
        index.search("cat", rerank="colbert")
    tokenizer = Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    static = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=32)], device="cpu")
    opened = Index(index.path, static)
    with pytest.raises(SmoothCSEError, match="no token embeddings, which late interaction compares; use a trans"):
        opened.search("a", rerank="maxsim")
