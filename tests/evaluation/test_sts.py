"""The STS tasks: exact rows, plain messages for broken folders, and the protocol's arithmetic."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation import sts
from smoothcse.evaluation.score import Score, average
from smoothcse.evaluation.sts import (
    SEVEN_STS,
    STS_TASKS,
    STSTask,
    Subset,
    evaluate_sts,
    load_task,
    load_tasks,
)
from smoothcse.evaluation.sts_tasks import files_of, sample_pairs

ROWS = {
    "STS12": 3108,
    "STS13": 1500,
    "STS14": 3750,
    "STS15": 3000,
    "STS16": 1186,
    "STSBenchmark": 1379,
    "STSBenchmark-dev": 1500,
    "SICKRelatedness": 4927,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete small folder: three pairs per subset, in the years' layout and as tables."""
    for name in STS_TASKS:
        for relative in files_of(name):
            path = tmp_path / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(small_file(relative), encoding="utf-8")
    return tmp_path


def small_file(relative: str) -> str:
    if "STS.input" in relative:
        return "a cat\ta dog\nunscored\tpair\na hat\ta bat\na day\ta way\n"
    if "STS.gs" in relative:
        return "1.5\n\n0\n5\n"
    if "SICK" in relative:
        return "pair_ID\tA\tB\tscore\tjudgement\r\n" + "".join(
            f"{i}\tA man {i}\tA boy\t{i}.5\tNEUTRAL\r\n" for i in (1, 2, 3)
        )
    return "".join(f"main\tnews\t2012\t{i}\t{i}.0\tA man {i}\tA boy\textra\n" for i in (1, 2, 3))


class HashModel:
    """Stands for a model, `encode` being replaced: a fixed random vector per sentence, and a record."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, vector=None):
        self.seen: list[str] = []
        self.options: dict[str, object] = {}
        self.vector = vector or self.hashed
        monkeypatch.setattr(sts, "encode", self.encode)

    def encode(self, model, sentences, **options):
        assert model is self
        self.seen += sentences
        self.options = options
        return np.stack([self.vector(sentence) for sentence in sentences]).astype(np.float32)

    @staticmethod
    def hashed(sentence: str) -> np.ndarray:
        digest = hashlib.blake2b(sentence.encode(), digest_size=8).digest()
        return np.random.default_rng(int.from_bytes(digest, "little")).normal(size=8)


def task(name: str, gold: list[float], sentences1=None, sentences2=None) -> STSTask:
    n = len(gold)
    firsts = sentences1 or [f"{name} first {i}" for i in range(n)]
    seconds = sentences2 or [f"{name} second {i}" for i in range(n)]
    return STSTask(name, (Subset("part", tuple(firsts), tuple(seconds), tuple(gold)),))


# ---- the data ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STS_TASKS)
def test_rows_of_the_real_tasks(shared, name):
    loaded = load_task(shared / "data" / "sts", name)
    assert loaded.rows == ROWS[name]
    for subset in loaded.subsets:
        assert len(subset.sentences1) == len(subset.sentences2) == len(subset.gold)
        assert all(0 <= score <= 5 for score in subset.gold)


def test_real_sentences_are_neither_unquoted_nor_cut(shared):
    data = shared / "data" / "sts"
    bench = load_task(data, "STSBenchmark-dev").subsets[0]
    raw = (data / "STSBenchmark" / "sts-dev.csv").read_text(encoding="utf-8")
    assert sum(s.count('"') for s in bench.sentences1 + bench.sentences2) == raw.count('"') > 0
    assert bench.sentences1[1] == "a young child is riding a horse ."
    assert bench.gold[1] == 4.75
    assert load_task(data, "SICKRelatedness").subsets[0].sentences2[-1].strip()


def test_unscored_pairs_are_dropped_with_their_sentences(folder):
    subset = load_task(folder, "STS16").subsets[0]
    assert subset == Subset("answer-answer", ("a cat", "a hat", "a day"), ("a dog", "a bat", "a way"), (1.5, 0.0, 5.0))


def test_sentevals_own_layout_is_read_too(folder):
    level = folder / "STS"
    level.mkdir()
    for child in [*folder.glob("STS1*"), folder / "STSBenchmark"]:
        child.rename(level / child.name)
    assert [loaded.name for loaded in load_tasks(folder, STS_TASKS)] == list(STS_TASKS)


def test_other_line_separators_stay_inside_a_sentence(folder):
    path = folder / "STS13-en-test" / "STS.input.FNWN.txt"
    path.write_text('a "b\tc" d\nu\tv\ne\u2028f\tg\x0ch\n i  j \tk\n', encoding="utf-8")
    subset = load_task(folder, "STS13").subsets[0]
    assert subset.sentences1 == ('a "b', "e f", "i j")
    assert subset.sentences2 == ('c" d', "g h", "k")


def test_a_sample_is_of_pairs_as_they_are_and_the_same_each_time(folder):
    whole = load_task(folder, "STS12")
    rows = [row for s in whole.subsets for row in zip(s.sentences1, s.sentences2, s.gold, strict=True)]
    sampled = sample_pairs(whole, 8)
    (subset,) = sampled.subsets
    drawn = list(zip(subset.sentences1, subset.sentences2, subset.gold, strict=True))
    assert sampled.rows == 8
    assert all(drawn.count(row) <= rows.count(row) for row in drawn)
    assert sample_pairs(whole, 8) == sampled != sample_pairs(whole, 8, seed=1)
    assert sample_pairs(whole, whole.rows) == whole


def test_a_sample_without_an_order_is_refused():
    with pytest.raises(SmoothCSEError, match=r"The 2 pairs drawn from t all have the score 3; draw more\."):
        sample_pairs(task("t", [3.0] * 50 + [4.0]), 2)


# ---- a user's mistakes ---------------------------------------------------------------------------


def refused(call) -> str:
    with pytest.raises(SmoothCSEError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".") or message.endswith("?")
    return message


def test_a_missing_folder(tmp_path):
    assert str(tmp_path / "none") in refused(lambda: load_task(tmp_path / "none", "STS12"))


def test_all_missing_files_are_named_over_all_tasks(folder):
    gone = [
        "STS12-en-test/STS.gs.MSRvid.txt",
        "STS14-en-test/STS.input.OnWN.txt",
        "SICK/SICK_test_annotated.txt",
    ]
    for relative in gone:
        (folder / relative).unlink()
    message = refused(lambda: load_tasks(folder))
    assert all(relative in message for relative in gone)
    assert "lacks 3 of 50 files" in message


def test_an_unknown_task_is_met_with_the_likely_one(folder):
    assert "Did you mean 'STSBenchmark'?" in refused(lambda: load_task(folder, "STSBenchmrk"))


def test_unequal_counts_name_both_files(folder):
    gs = folder / "STS15-en-test" / "STS.gs.belief.txt"
    gs.write_text("1\n2\n", encoding="utf-8")
    message = refused(lambda: load_task(folder, "STS15"))
    assert f"{gs} has 2" in message
    assert "STS.input.belief.txt has 4 lines" in message


@pytest.mark.parametrize(
    ("relative", "content", "expected"),
    [
        (
            "STS12-en-test/STS.input.MSRpar.txt",
            b"a\tb\nu\tv\nonly one\ne\tf\n",
            ":3: 2 tab-separated columns",
        ),
        ("STS12-en-test/STS.gs.MSRpar.txt", b"1\n\nhigh\n2\n", ":3: the score 'high' is not a number"),
        ("STS12-en-test/STS.gs.MSRpar.txt", b"1\n\n2\n5.5\n", ":4: the score 5.5 is outside 0 to 5"),
        ("STS12-en-test/STS.gs.MSRpar.txt", b"1\n\n2\nnan\n", ":4: the score nan is outside"),
        ("STS12-en-test/STS.gs.MSRpar.txt", b"3\n\n3\n3.0\n", ": all 3 scores are the same"),
        (
            "STS12-en-test/STS.input.MSRpar.txt",
            b"a\tb\nu\tv\ncaf\xe9\tc\ne\tf\n",
            ":3: this line is not UTF-8",
        ),
        ("STSBenchmark/sts-test.csv", b"main\tnews\t2012\t1\t2.0\tA man\n", ":1: 7 tab-separated columns"),
        ("STSBenchmark/sts-test.csv", b"", ": all 0 scores are the same"),
        ("SICK/SICK_test_annotated.txt", b"id\tA\tB\ts\n1\ta\tb\tx\n", ":2: the score 'x' is not a number"),
    ],
)
def test_broken_files_are_named_with_the_line(folder, relative, content, expected):
    (folder / relative).write_bytes(content)
    assert f"{folder / relative}{expected}" in refused(lambda: load_tasks(folder))


# ---- the scores ----------------------------------------------------------------------------------


def test_each_distinct_sentence_is_encoded_once_over_all_tasks(folder, monkeypatch):
    model = HashModel(monkeypatch)
    tasks = load_tasks(folder, STS_TASKS)
    scores = evaluate_sts(model, tasks, batch_size=7)
    texts = [s for t in tasks for sub in t.subsets for s in (*sub.sentences1, *sub.sentences2)]
    assert sorted(model.seen) == sorted(set(texts))
    assert len(model.seen) < len(texts)
    assert model.options == {"batch_size": 7}
    assert [score.task for score in scores] == list(STS_TASKS)
    assert [score.rows for score in scores] == [t.rows for t in tasks]


def test_the_main_score_is_spearman_of_all_pairs_together(monkeypatch):
    model = HashModel(monkeypatch)
    parts = [task(name, [0.0, 1.0, 2.0, 5.0, 2.0, 4.0]).subsets[0] for name in ("x", "y")]
    both = STSTask("two", tuple(Subset(str(i), p.sentences1, p.sentences2, p.gold) for i, p in enumerate(parts)))
    (score,) = evaluate_sts(model, [both])

    def cosine(a: str, b: str) -> float:
        u, v = model.hashed(a), model.hashed(b)
        return float(u @ v / np.sqrt(u @ u) / np.sqrt(v @ v))

    cosines = [[cosine(a, b) for a, b in zip(p.sentences1, p.sentences2, strict=True)] for p in parts]
    gold, together = list(parts[0].gold), [*cosines[0], *cosines[1]]
    assert score.main == score.metrics["spearman"]
    assert score.main == pytest.approx(100 * stats.spearmanr(together, gold * 2).statistic)
    assert score.metrics["pearson"] == pytest.approx(100 * stats.pearsonr(together, gold * 2).statistic, rel=1e-5)
    for i in (0, 1):
        assert score.subsets[str(i)]["spearman"] == pytest.approx(100 * stats.spearmanr(cosines[i], gold).statistic)
    assert score.diagnosis is None


def test_equal_pairs_tie(monkeypatch):
    """Cosines of equal sentences differ in their last bit; ranked, they would make up an order."""
    model = HashModel(monkeypatch)
    same = [f"sentence {i}" for i in range(50)]
    t = task("ties", [5.0, *([0.0] * 50)], ["x", *same], ["y", *same])
    (score,) = evaluate_sts(model, [t])
    assert score.main == pytest.approx(-100.0)


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        (lambda s: np.full(8, 0.3), "collapsed"),
        (lambda s: np.zeros(8), "collapsed"),
        (lambda s: 1 + 1e-5 * HashModel.hashed(s), "collapsed"),
        (
            lambda s: np.full(8, np.nan if s.endswith("first 1") else 1.0),
            "1 of 3 pairs have an embedding that is not",
        ),
        (lambda s: np.full(8, np.inf), "3 of 3 pairs"),
    ],
)
def test_a_broken_model_scores_zero_and_is_told_why(monkeypatch, vector, expected):
    (score,) = evaluate_sts(HashModel(monkeypatch, vector), [task("t", [0.0, 1.0, 2.0])])
    assert expected in (score.diagnosis or "")
    assert score.main == score.metrics["pearson"] == score.subsets["part"]["spearman"] == 0.0


def test_a_narrow_cone_is_not_a_collapse(monkeypatch):
    (score,) = evaluate_sts(HashModel(monkeypatch, lambda s: 10 + HashModel.hashed(s)), [task("t", [0.0, 1.0, 2.0])])
    assert score.diagnosis is None


def test_the_average_is_of_unrounded_figures():
    assert average([Score("a", 1.005, {}, 1), Score("b", 2.006, {}, 1)]) == pytest.approx(1.5055)


SAMPLED = {
    "STS12": 74.408,
    "STS13": 75.350,
    "STS14": 79.206,
    "STS15": 87.392,
    "SICKRelatedness": 71.891,
    "STSBenchmark-dev": 80.453,
}
"""MiniLM's scores on 100 pairs of these tasks, which scipy confirms, noted when all pairs scored as published, too."""


@pytest.mark.slow
def test_minilm_scores_as_published(shared, minilm):
    """All pairs of one task in each layout, that of several parts and that of a table; samples of the others."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(minilm, device="cpu")
    tasks = load_tasks(shared / "data" / "sts", [*SEVEN_STS, "STSBenchmark-dev"])
    chosen = [sample_pairs(task, 100) if task.name in SAMPLED else task for task in tasks]
    reference = json.loads((shared / "reference" / "minilm_sts.json").read_text())["measured_senteval_rows"]
    published = reference["mean pooling (as released)"]
    expected = {name: published[name] for name in ("STS16", "STSBenchmark")} | SAMPLED
    found = {score.task: score.main for score in evaluate_sts(model, chosen)}
    assert found == {name: pytest.approx(figure, abs=0.01) for name, figure in expected.items()}
