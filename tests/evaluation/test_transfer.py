"""The transfer tasks: exact rows, plain messages, and the protocol on embeddings whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation import transfer
from smoothcse.evaluation.transfer import (
    TRANSFER_TASKS,
    Split,
    TransferTask,
    evaluate_transfer,
    load_transfer,
    load_transfers,
)
from smoothcse.evaluation.transfer_tasks import TRANSFER_FILES

ROWS = {
    "MR": {"train": 10662},
    "CR": {"train": 3775},
    "SUBJ": {"train": 10000},
    "MPQA": {"train": 10606},
    "SST2": {"train": 67349, "dev": 872, "test": 1821},
    "TREC": {"train": 5452, "test": 500},
    "MRPC": {"train": 4076, "test": 1725},
}
N = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete small folder: a dozen examples per class and file."""
    for relative in TRANSFER_FILES:
        path = tmp_path / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(small_file(relative), encoding="utf-8")
    return tmp_path


def small_file(relative: str) -> str:
    if relative.startswith("TREC"):
        question = "What" if "TREC_10" in relative else "Which"
        return "".join(f"{c}:sub {question} is {c} {i} ?\n" for i in range(N) for c in ("ABBR", "HUM", "NUM"))
    if relative.startswith("SST"):
        return "".join(f'a "{i} {label}" film \t{label}\n' for i in range(N) for label in (0, 1))
    if relative.startswith("MRPC"):
        rows = [f'{label}\t1\t2\tHe said "{i}.\tShe said {label}.' for i in range(N) for label in (0, 1)]
        return "\n".join(["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", *rows]) + "\n"
    return "".join(f"{relative} line {i} . \n" for i in range(N))


def fake_encode(monkeypatch, vector) -> list[list[str]]:
    calls: list[list[str]] = []

    def encode(model, sentences, **options):
        calls.append(list(sentences))
        return np.stack([vector(sentence) for sentence in sentences]).astype(np.float32)

    monkeypatch.setattr(transfer, "encode", encode)
    return calls


def linear_data(seed: int, n: int, noise: float, classes: int = 2, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, np.argmax(x[:, :classes] + noise * rng.normal(size=(n, classes)), axis=1)


def task_of(monkeypatch, name: str, **splits: tuple[np.ndarray, np.ndarray]) -> TransferTask:
    """A task whose sentences are numbers, and an `encode` that looks their vectors up."""
    table = np.concatenate([x for x, _ in splits.values()])
    fake_encode(monkeypatch, lambda sentence: table[int(sentence)])
    start, made = 0, {}
    for split, (x, y) in splits.items():
        made[split] = Split(tuple((str(start + i),) for i in range(len(x))), tuple(int(label) for label in y))
        start += len(x)
    return TransferTask(name, made)


# ---- the data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRANSFER_TASKS)
def test_rows_of_the_real_tasks(shared, name):
    task = load_transfer(shared / "data" / "transfer", name)
    assert {split: len(part.labels) for split, part in task.splits.items()} == ROWS[name]
    assert {len(texts) for part in task.splits.values() for texts in part.texts} == {2 if task.is_pair else 1}
    assert len({label for part in task.splits.values() for label in part.labels}) == (6 if name == "TREC" else 2)


def test_real_texts_are_read_in_their_encodings_with_their_quotes(shared):
    data = shared / "data" / "transfer"
    trec = load_transfer(data, "TREC").splits["train"].texts
    assert any("sister\xf0city" in text for (text,) in trec)  # a byte that is no UTF-8
    mrpc = load_transfer(data, "MRPC").splits["train"].texts
    assert any(text.count('"') % 2 for pair in mrpc for text in pair)
    assert load_transfer(data, "SST2").splits["dev"].labels.count(1) == 444


def test_classes_and_order_are_sentevals(folder):
    (folder / "CR" / "custrev.pos").write_text("a b c\n" * 10 + "good\n", encoding="utf-8")
    (folder / "CR" / "custrev.neg").write_text("d  e f \n" * 10 + "\n", encoding="utf-8")
    train = load_transfer(folder, "CR").splits["train"]
    assert train.texts == (("",), ("good",), *[("d e f",)] * 10, *[("a b c",)] * 10)
    assert train.labels == (0, 1, *[0] * 10, *[1] * 10)


def test_a_pair_is_cut_at_tabs_alone(folder):
    texts = load_transfer(folder, "MRPC").splits["test"].texts
    assert ('He said "3.', "She said 1.") in texts
    assert len(texts) == 2 * N


# ---- a user's mistakes ------------------------------------------------------------------------------------


def refused(call) -> str:
    with pytest.raises(SmoothCSEError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_missing_files_are_named_over_all_tasks(folder):
    gone = ["MR/rt-polarity.neg", "SST/binary/sentiment-dev", "TREC/TREC_10.label"]
    for relative in gone:
        (folder / relative).unlink()
    message = refused(lambda: load_transfers(folder))
    assert all(relative in message for relative in gone)
    assert "MR/rt-polarity.pos" not in message


@pytest.mark.parametrize(
    ("relative", "content", "expected"),
    [
        ("TREC/TREC_10.label", "HUM:x Who ?\nHUMM:x Who ?\n", ":2: 'HUMM' is none of the classes ABBR,"),
        ("SST/binary/sentiment-dev", "fine\t1\nno label\n", ":2: 2 tab-separated columns"),
        ("SST/binary/sentiment-dev", "fine\t2\n", ":1: '2' is none of the classes 0, 1"),
        ("SST/binary/sentiment-dev", "fine\t1\n", ": at least two classes with at least 1 "),
        ("MRPC/msr_paraphrase_train.txt", "h\n1\ta\tb\tc\n", ":2: 5 tab-separated columns"),
        ("CR/custrev.neg", "bad\n", ": at least two classes with at least 10 examples"),
    ],
)
def test_broken_files_are_named_with_the_line(folder, relative, content, expected):
    (folder / relative).write_text(content, encoding="utf-8")
    assert f"{folder / relative}{expected}" in refused(lambda: load_transfers(folder))


def test_an_unknown_task_is_met_with_the_likely_one(folder):
    assert "Did you mean 'SST2'?" in refused(lambda: load_transfer(folder, "SST-2"))
    assert "Did you mean 'MRPC'?" in refused(lambda: load_transfers(folder, ["MRCP"]))


# ---- the protocol -----------------------------------------------------------------------------------------


def test_each_distinct_sentence_is_encoded_once_per_task(folder, monkeypatch):
    calls = fake_encode(monkeypatch, lambda s: np.array([len(s), sum(s.encode()) % 97, s.count("1")]))
    tasks = load_transfers(folder, ["SST2", "TREC", "MRPC"])
    scores = evaluate_transfer(None, tasks)
    assert [score.task for score in scores] == ["SST2", "TREC", "MRPC"]
    assert [score.rows for score in scores] == [2 * N, 3 * N, 2 * N]
    for task, call in zip(tasks, calls, strict=True):
        assert sorted(call) == sorted(
            {text for part in task.splits.values() for texts in part.texts for text in texts}
        )


def test_separable_classes_are_read_perfectly_and_random_ones_by_chance(monkeypatch):
    clean = task_of(monkeypatch, "CR", train=linear_data(0, 200, noise=0.0))
    (score,) = evaluate_transfer(None, [clean])
    assert score.main > 97
    assert score.metrics["accuracy"] == score.main
    rng = np.random.default_rng(1)
    chance = task_of(monkeypatch, "CR", train=(rng.normal(size=(400, 6)), rng.integers(0, 2, 400)))
    (score,) = evaluate_transfer(None, [chance])
    assert 40 < score.main < 60
    assert score.diagnosis is None


def test_held_out_folds_never_choose_their_own_penalty(monkeypatch):
    """With labels that are pure noise, choosing on the test fold would lift the score above the inner one."""
    fitted: list[int] = []
    original = transfer._fit
    monkeypatch.setattr(
        transfer, "_fit", lambda train, penalty: fitted.append(len(train.y)) or original(train, penalty)
    )
    evaluate_transfer(None, [task_of(monkeypatch, "MR", train=linear_data(2, 100, noise=2.0))])
    inner, outer = 10 * 10 * len(transfer.PENALTIES), 10
    assert len(fitted) == inner + outer
    assert sorted(set(fitted)) == [81, 90]
    assert fitted.count(90) == outer


def test_the_test_split_is_scored_with_the_penalty_of_the_dev_split(monkeypatch):
    train, dev, test = (linear_data(seed, 150, noise=1.0, classes=3) for seed in (3, 4, 5))
    (score,) = evaluate_transfer(None, [task_of(monkeypatch, "SST2", train=train, dev=dev, test=test)])

    def accuracies(held_out) -> list[float]:
        fits = [LogisticRegression(C=1 / (150 * l2), max_iter=5000).fit(*train) for l2 in transfer.PENALTIES]
        return [100 * fit.score(*held_out) for fit in fits]

    best = int(np.argmax(accuracies(dev)))
    assert score.metrics["dev_accuracy"] == pytest.approx(accuracies(dev)[best])
    assert score.main == pytest.approx(accuracies(test)[best])


def test_the_penalty_is_that_of_the_mean_loss():
    """At the optimum the gradient of mean cross-entropy + l/2 ||W||² vanishes."""
    x, y = linear_data(6, 300, noise=1.0)
    penalty = 1e-2
    fit = transfer._fit(transfer._Examples(x, y), penalty)
    probability = fit.predict_proba(x)[:, 1]
    gradient = x.T @ (probability - y) / len(y) + penalty * fit.coef_[0]
    np.testing.assert_allclose(gradient, 0.0, atol=1e-4)


def test_a_pair_becomes_difference_and_product(monkeypatch):
    vectors = {"a": [1.0, 2.0], "b": [3.0, -1.0]}
    fake_encode(monkeypatch, lambda s: np.array(vectors[s]))
    task = TransferTask("MRPC", {"train": Split((("a", "b"), ("b", "b")), (0, 1))})
    features = transfer._features(None, task, {})["train"].x
    np.testing.assert_array_equal(features, [[2, 3, 3, -2], [0, 0, 9, 1]])


def test_mrpc_reports_f1_of_the_paraphrases(folder, monkeypatch):
    fake_encode(monkeypatch, lambda s: np.array([float(s == "She said 1."), 1.0]))
    (score,) = evaluate_transfer(None, [load_transfer(folder, "MRPC")])
    assert score.metrics == {"accuracy": 100.0, "dev_accuracy": 100.0, "f1": 100.0}


@pytest.mark.parametrize(
    ("vector", "expected", "main"),
    [
        (lambda s: np.full(4, 0.5), "collapsed", 50.0),
        (lambda s: np.full(4, np.nan if "pos line 3" in s else 1.0), "not finite", 0.0),
    ],
)
def test_a_broken_model_is_told_so(folder, monkeypatch, vector, expected, main):
    fake_encode(monkeypatch, vector)
    (score,) = evaluate_transfer(None, [load_transfer(folder, "CR")])
    assert expected in (score.diagnosis or "")
    assert score.main == pytest.approx(main, abs=15)


def test_broken_embeddings_of_the_test_split_alone_count_too(folder, monkeypatch):
    fake_encode(monkeypatch, lambda s: np.array([np.nan if s == "What is HUM 3 ?" else len(s), 1.0]))
    (score,) = evaluate_transfer(None, [load_transfer(folder, "TREC")])
    assert score.main == 0.0
    assert "not finite" in (score.diagnosis or "")
