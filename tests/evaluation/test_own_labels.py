"""The user's own labels: three kinds recognised from their columns, scored item by item, and looked up in a corpus."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation import item_scores
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.item_scores import score_pairs, score_triplets
from smoothcse.evaluation.label_files import ScoredPairs, Triplets
from smoothcse.evaluation.labelled_corpus import add_corpus
from smoothcse.evaluation.own_labels import is_own_labels, load_own_labels
from smoothcse.evaluation.retrieval import RetrievalTask, compare_with_bm25, evaluate_retrieval

QUERIES = [{"query": f"cat {n}", "document": f"a cat sat on mat {n}"} for n in range(4)]
PAIRS = [{"sentence1": f"cat {n}", "sentence2": f"dog {n * n}", "score": n % 3} for n in range(5)]
TRIPLETS = [{"anchor": f"cat {n}", "positive": f"a cat {n}", "negative": f"house {n}"} for n in range(3)]


def write(path, rows):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        between = "," if path.suffix == ".csv" else "\t"
        path.write_text("".join(between.join(map(str, row)) + "\n" for row in (rows[0], *(r.values() for r in rows))))
    return path


def beir(folder, titles=("Mats", ""), qrels=("test",)):
    (folder / "qrels").mkdir(parents=True)
    texts = ("a cat sat on the mat in the old house", "quiet towns and the people who live in them")
    rows = zip(titles, texts, strict=True)
    write(folder / "corpus.jsonl", [{"_id": f"d{n}", "title": t, "text": text} for n, (t, text) in enumerate(rows)])
    write(folder / "queries.jsonl", [{"_id": f"q{n}", "text": f"cat {n}"} for n in range(2)])
    for split in qrels:
        (folder / f"qrels/{split}.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t2\nq1\td1\t1\n")
    return folder


@pytest.fixture(scope="module")
def model(tiny_bert):
    return load_encoder(tiny_bert, "mean", device="cpu")


@pytest.fixture
def planes(monkeypatch):
    """Let a text such as ``"1 2"`` be its own embedding."""

    def read(model, texts, *role, **options):
        return np.array([[*map(float, text.split())] for text in texts], np.float32)

    monkeypatch.setattr(item_scores, "encode", read)


# ---- reading --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize(
    ("rows", "kind", "metric"),
    [
        (QUERIES, "queries", "MRR x 100"),
        (PAIRS, "pairs", "Spearman x 100"),
        (TRIPLETS, "triplets", "accuracy x 100"),
    ],
)
def test_the_columns_tell_the_kind(tmp_path, suffix, rows, kind, metric):
    path = write(tmp_path / f"labels{suffix}", rows)
    labels = load_own_labels(path)
    assert (labels.kind, labels.metric, labels.name, len(labels)) == (kind, metric, f"labels{suffix}", len(rows))
    assert labels.notes == (
        f"{path} has {len(rows)} labelled items, which show large differences alone; label 50 or more.",
    )
    assert is_own_labels(path)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("question", "answer"), "queries"),
        (("anchor", "positive"), "queries"),
        (("text1", "text2", "score", "split"), "pairs"),
        (("anchor", "positive", "negative", "source"), "triplets"),
    ],
)
def test_other_names_and_further_columns(tmp_path, names, kind):
    rows = [dict(zip(names, (f"a {n}", f"b {n}", f"{n}", f"c {n}"), strict=False)) for n in range(60)]
    labels = load_own_labels(write(tmp_path / "labels.jsonl", rows))
    assert (labels.kind, len(labels), labels.notes) == (kind, 60, ())


def test_the_fingerprint_changes_with_each_label(tmp_path):
    found = set()
    for number, rows in enumerate((QUERIES, QUERIES[:3], PAIRS, [*PAIRS[:4], PAIRS[4] | {"score": 9}], TRIPLETS)):
        path = write(tmp_path / f"{number}.jsonl", rows)
        found.add(load_own_labels(path).fingerprint)
        assert load_own_labels(path).fingerprint in found
    assert len(found) == 5


def test_of_a_beir_folder_the_dev_split_is_read(tmp_path):
    assert load_own_labels(beir(tmp_path / "a", qrels=("dev", "test"))).name == "a, qrels/dev.tsv"
    assert load_own_labels(beir(tmp_path / "b")).name == "b, qrels/test.tsv"
    with pytest.raises(SmoothCSEError, match=r"holds test\.tsv, train\.tsv, and none is dev\.tsv"):
        load_own_labels(beir(tmp_path / "c", qrels=("test", "train")))


def test_benchmark_data_are_no_own_labels(tmp_path):
    folder = beir(tmp_path / "retrieval").parent
    assert is_own_labels(folder)
    (tmp_path / "sts/STSBenchmark").mkdir(parents=True)
    (tmp_path / "sts/STSBenchmark/sts-dev.csv").write_text("")
    assert not is_own_labels(folder)
    assert is_own_labels(tmp_path / "missing.jsonl")
    assert not is_own_labels(tmp_path / "missing")


# ---- scores ---------------------------------------------------------------------------------------------------


def test_queries_are_scored_alone_and_fused(tmp_path, model):
    labels = load_own_labels(write(tmp_path / "labels.jsonl", QUERIES))
    alone, both = labels.score(model), labels.score(model, cosine_weight=0.4)
    expected = compare_with_bm25(model, labels.data, BM25(labels.data.documents), cosine_weight=0.4)
    assert alone.value == pytest.approx(evaluate_retrieval(model, labels.data)["MRR"])
    assert (alone.bm25, alone.fused) == (None, None)
    for scores, ranking in ((both, expected.cosine), (both.bm25, expected.bm25), (both.fused, expected.fused)):
        np.testing.assert_allclose(scores.values, 100 * ranking.reciprocal_ranks)
    with pytest.raises(SmoothCSEError, match=r"weight of the cosine similarity is 1\.5"):
        labels.score(model, cosine_weight=1.5)


@pytest.mark.usefixtures("planes")
def test_pairs_are_scored_by_spearman():
    pairs = ScoredPairs(("1 0", "1 0", "1 0", "1 0"), ("1 0", "0 2", "1 1", "-3 0"), (5, 2, 1, 1))
    scores = score_pairs(None, pairs, "fp32")
    np.testing.assert_allclose(scores.values, [1, 0, 0.5**0.5, -1], atol=1e-7)
    assert scores.value == pytest.approx(100 * spearmanr(scores.values, pairs.scores).statistic)


@pytest.mark.usefixtures("planes")
def test_a_triplet_needs_the_positive_ahead():
    triplets = Triplets(("1 0",) * 3, ("1 1", "1 3", "1 1"), ("1 3", "1 1", "2 2"))
    scores = score_triplets(None, triplets, "fp32")
    assert scores.values.tolist() == [100, 0, 0]  # the last one is a tie
    assert scores.value == pytest.approx(100 / 3)


@pytest.mark.usefixtures("planes")
@pytest.mark.parametrize("text", ["1 1", "nan 1"])
def test_embeddings_that_rank_nothing_score_zero(text):
    assert score_pairs(None, ScoredPairs((text,) * 3, (text,) * 3, (1, 2, 3)), "fp32").value == 0
    assert score_triplets(None, Triplets((text,), (text,), (text,)), "fp32").value == 0


# ---- in a corpus ------------------------------------------------------------------------------------------------


def test_labelled_documents_are_looked_up_in_the_corpus(tmp_path):
    path = write(tmp_path / "labels.jsonl", QUERIES)
    corpus = ["old houses", "a cat  sat on\nmat 2", "a cat sat on mat 0", "a cat sat on mat 2", "quiet towns"]
    labels = load_own_labels(path, corpus)
    added = ["a cat sat on mat 1", "a cat sat on mat 3"]
    assert labels.data.documents == [*corpus[:3], "quiet towns", *added]  # equal ones count once
    assert labels.data.relevant[:, 0].tolist() == [2, 4, 1, 5]
    assert (
        labels.notes[0]
        == f"2 of 4 labelled documents of {path} are not in the corpus; they are added to what is searched."
    )
    assert labels.fingerprint != load_own_labels(path).fingerprint


def test_labels_for_another_corpus_are_refused(tmp_path):
    path = write(tmp_path / "labels.jsonl", QUERIES)
    said = (
        f"None of the 4 labelled documents of {path} is among the 2 documents of the corpus; give labels for this "
        "corpus, or the corpus that they are for."
    )
    with pytest.raises(SmoothCSEError) as caught:
        load_own_labels(path, ["old houses", "quiet towns"])
    assert str(caught.value) == said
    assert load_own_labels(write(tmp_path / "pairs.jsonl", PAIRS), ["old houses"]).kind == "pairs"  # have no documents


@pytest.mark.parametrize("title", ["", "Mats "])
def test_titles_may_be_part_of_the_corpus_or_not(tmp_path, title):
    corpus = ["old houses", f"{title}a cat sat on the mat in the old house"]
    task = load_own_labels(beir(tmp_path / "mine"), corpus).data
    assert task.documents == [*corpus, "quiet towns and the people who live in them"]
    assert task.relevant.tolist() == [[1], [2]]
    assert task.gains.tolist() == [[2], [1]]


def test_a_document_that_was_split_is_found_by_its_passages():
    document = "one two three four five. Six seven eight nine ten.\n\nEleven twelve thirteen fourteen fifteen sixteen."
    others = ["Six seven eight nine eleven.", "one two three", "and one two three four five. Six"]
    passages = ["one two three four five.", "Eleven twelve thirteen fourteen fifteen sixteen."]
    task = RetrievalTask("mine", ["q"], [document, "x"], np.array([0]))
    found, notes = add_corpus(task, task.documents, [*others, *passages], "mine")
    assert found.relevant.tolist() == [[3, 4]]
    assert found.documents == [*others, *passages, "x"]
    assert notes == [
        "1 of 1 labelled documents of mine are split into passages in the corpus; each passage counts as an answer."
    ]
    with pytest.raises(SmoothCSEError, match="None of the 1 labelled documents"):  # 5 of 16 words are too few
        add_corpus(task, task.documents, passages[:1], "mine")


# ---- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", "", "a.jsonl is empty; give a file with labels: queries need the columns query and document"),
        ("a.csv", "query,document\n", "a.csv is empty; give a file with labels"),
        ("a.txt", "the cat\n", "a.txt has no columns; give labels as .jsonl, .csv, .tsv (also with .gz or .zst) or"),
        ("a.jsonl", '{"q": "a", "d": "b"}\n', "a.jsonl:1 has the columns q, d, which hold no labels: queries need"),
        ("a.csv", "sentence1,sentence2,score\na,b,\n", "a.csv:2 has no score: fix or remove the line."),
        (
            "a.jsonl",
            '{"sentence1": "a", "sentence2": "b", "score": 1}\n{"sentence1": "a", "sentence2": "b"}\n',
            "a.jsonl:2 has no score: fix or remove the line.",
        ),
        ("a.csv", "sentence1,sentence2,score\na,b,high\n", "a.csv:2: the score 'high' is not a number"),
        ("a.csv", "sentence1,sentence2,score\na,b,nan\n", "a.csv:2: the score 'nan' is not a number"),
        ("a.csv", "sentence1,sentence2,score\na,,1\n", "a.csv:2 has no text in 'sentence2': fix or remove the line."),
        (
            "a.csv",
            "sentence1,sentence2,score\na,b,1\nc,d,1.0\n",
            "a.csv: all 2 scores are 1, so Spearman's correlation is undefined; give pairs of different similarity.",
        ),
        ("a.csv", "sentence1,sentence2,score\na,b,1\n", "a.csv has 1 labelled item; give at least 2, better 50"),
        ("a.csv", "anchor,positive,negative\na,b,c\n", "a.csv has 1 labelled item; give at least 2"),
        ("a.csv", "anchor,positive,negative\na,b,\n", "a.csv:2 has no text in 'negative'"),
        ("a.csv", "query,document\na,b\na,c\n", "a.csv has 1 labelled item; give at least 2, better 50 or more."),
        (
            "a.csv",
            "query,document,score\na,b,1\n",
            "a.csv:2 has the columns query, document, score, which mix pairs and queries; keep the columns",
        ),
        (
            "a.csv",
            "query,document,anchor,positive,negative\na,b,c,d,e\n",
            "a.csv:2 has the columns query, document, anchor, positive, negative, which mix queries and triplets",
        ),
        (
            "a.jsonl",
            '{"query": "a", "document": "b"}\n{"anchor": "a", "positive": "b", "negative": "c"}\n',
            "a.jsonl:2 has the columns anchor, positive, negative of triplets, but the lines before hold queries; put",
        ),
    ],
)
def test_bad_labels_are_told_with_their_place(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(SmoothCSEError) as caught:
        load_own_labels(tmp_path / name)
    assert f"{tmp_path}/{said}" in str(caught.value)


def test_bad_sources_are_told(tmp_path):
    with pytest.raises(SmoothCSEError, match=r"The labels \S+/none\.jsonl do not exist; give an existing file, or"):
        load_own_labels(tmp_path / "none.jsonl")
    with pytest.raises(SmoothCSEError, match=r"The folder \S+ holds no labels in BEIR's layout \(corpus\.jsonl"):
        load_own_labels(tmp_path)
    without = beir(tmp_path / "mine", qrels=())
    (without / "qrels").rmdir()
    with pytest.raises(SmoothCSEError, match="mine has no folder qrels; BEIR's layout is"):
        load_own_labels(without)
