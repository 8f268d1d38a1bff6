"""Transfer: accuracy of a linear classifier on frozen embeddings.

The protocol is SentEval's standard setting (Conneau & Kiela, LREC 2018), which the transfer tables of SimCSE and its
successors use: seven tasks; ten folds, stratified and shuffled with seed 1111, with the examples in SentEval's order
so that the folds are the same; and an L2 penalty chosen from 1e-5 to 1e-2 by

* inner ten-fold cross-validation within each outer training part (MR, CR, SUBJ, MPQA),
* ten-fold cross-validation on the training split (TREC, MRPC), or
* accuracy on the development split (SST2).

**One difference.** SentEval fits its logistic regression by Adam in minibatches of 64 and stops by accuracy on
held-out examples. Here, scikit-learn's L-BFGS fits it to convergence. The optimum of this convex problem depends on no
learning rate, random start or stopping rule, so the accuracy is a property of the embeddings alone. It is also the
fastest of the solvers tried: a fit of CR (3,775 x 384) takes 0.02 s on one core, several times less than full-batch
L-BFGS in torch even when that solves ten folds at once. ``benchmarks/transfer_parity.py`` compares the accuracies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold

from smoothcse.encoders.inference import encode
from smoothcse.evaluation.score import Score
from smoothcse.evaluation.transfer_tasks import (
    FOLDS,
    TRANSFER_TASKS,
    Split,
    TransferTask,
    load_transfer,
    load_transfers,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

__all__ = [
    "TRANSFER_TASKS",
    "Split",
    "TransferTask",
    "evaluate_transfer",
    "load_transfer",
    "load_transfers",
]

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)
"""Candidate L2 penalties: the weight ``l`` in ``mean cross-entropy + l/2 ||W||²``, SentEval's weight decay."""

SEED = 1111
"""SentEval's seed, which determines the folds."""


@dataclass(frozen=True)
class _Examples:
    """Features ``(n, d)`` and classes ``(n,)``."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def part(self, rows: NDArray[np.int64]) -> _Examples:
        return _Examples(self.x[rows], self.y[rows])

    def folds(self) -> Iterable[tuple[_Examples, _Examples]]:
        """Return the pairs (rest, fold) of a cross-validation."""
        cut = StratifiedKFold(n_splits=FOLDS, shuffle=True, random_state=SEED)
        return [(self.part(rest), self.part(fold)) for rest, fold in cut.split(self.x, self.y)]


def evaluate_transfer(model: SentenceTransformer, tasks: Sequence[TransferTask], **encode_options: Any) -> list[Score]:
    """Score a model on transfer tasks.

    Each distinct sentence of a task is encoded once. The features of a pair (MRPC) are ``[|u - v|, u * v]``.

    Args:
        model: Any sentence-transformers model; its embeddings are not normalised.
        tasks: Tasks from :func:`load_transfer` or :func:`load_transfers`.
        **encode_options: Options of :func:`~smoothcse.encoders.inference.encode`, e.g. ``batch_size``.

    Returns:
        One score per task, in order, with ``accuracy`` (the main metric) and ``dev_accuracy`` (accuracy of the chosen
        penalty on the data that it was chosen by), and ``f1`` for MRPC, times 100. If all embeddings are identical or
        some are not finite, ``diagnosis`` says so; in the second case the metrics are 0.0.
    """
    return [_score(task, _features(model, task, encode_options)) for task in tasks]


def _features(model: SentenceTransformer, task: TransferTask, encode_options: dict[str, Any]) -> dict[str, _Examples]:
    texts = [text for split in task.splits.values() for example in split.texts for text in example]
    place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    embeddings = encode(model, list(place), **encode_options)
    return {
        name: _Examples(_join(_columns(split, place, embeddings)), np.asarray(split.labels))
        for name, split in task.splits.items()
    }


def _columns(split: Split, place: dict[str, int], embeddings: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Return the embeddings of the examples' first texts, and of their second texts if the examples are pairs."""
    return [embeddings[[place[text] for text in texts]] for texts in zip(*split.texts, strict=True)]


def _join(columns: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    if len(columns) == 1:
        return columns[0]
    u, v = columns
    return np.concatenate([np.abs(u - v), u * v], axis=1)


def _score(task: TransferTask, examples: dict[str, _Examples]) -> Score:
    everything = np.concatenate([part.x for part in examples.values()])
    if not np.isfinite(everything).all():
        metrics = {"accuracy": 0.0, "dev_accuracy": 0.0}
    elif "test" in examples:
        metrics = _tested(examples, with_f1=task.is_pair)
    else:
        metrics = _nested(examples["train"])
    return Score(
        task=task.name,
        main=metrics["accuracy"],
        metrics=metrics,
        rows=len(examples.get("test", examples["train"]).y),
        diagnosis=_diagnose(everything),
    )


def _nested(train: _Examples) -> dict[str, float]:
    """Score each fold with the penalty chosen by an inner cross-validation on the rest."""
    accuracies, dev_accuracies = [], []
    for rest, fold in train.folds():
        penalty, dev_accuracy = _choose(rest.folds())
        accuracies.append(_accuracy(rest, fold, penalty))
        dev_accuracies.append(dev_accuracy)
    return {"accuracy": float(np.mean(accuracies)), "dev_accuracy": float(np.mean(dev_accuracies))}


def _tested(examples: dict[str, _Examples], *, with_f1: bool) -> dict[str, float]:
    """Score the test split with the penalty chosen on the development split or by a cross-validation."""
    train, test = examples["train"], examples["test"]
    penalty, dev_accuracy = _choose([(train, examples["dev"])] if "dev" in examples else train.folds())
    predicted = _fit(train, penalty).predict(test.x)
    metrics = {"accuracy": 100.0 * float(accuracy_score(test.y, predicted)), "dev_accuracy": dev_accuracy}
    if with_f1:
        metrics["f1"] = 100.0 * float(f1_score(test.y, predicted))
    return metrics


def _choose(parts: Iterable[tuple[_Examples, _Examples]]) -> tuple[float, float]:
    """Return the penalty with the best mean accuracy on the held-out parts, and that accuracy."""
    parts = list(parts)
    means = [np.mean([_accuracy(rest, held_out, penalty) for rest, held_out in parts]) for penalty in PENALTIES]
    best = int(np.argmax(means))  # the weakest among equals, as in SentEval
    return PENALTIES[best], float(means[best])


def _accuracy(train: _Examples, held_out: _Examples, penalty: float) -> float:
    return 100.0 * float(_fit(train, penalty).score(held_out.x, held_out.y))


def _fit(train: _Examples, penalty: float) -> LogisticRegression:
    # scikit-learn weights the *sum* of the losses by C, relative to 1/2 ||W||².
    return LogisticRegression(C=1.0 / (penalty * len(train.y)), max_iter=2000).fit(train.x, train.y)


def _diagnose(x: NDArray[np.float32]) -> str | None:
    """Return one sentence on why the features cannot be classified, or None if nothing obvious is wrong."""
    if not np.isfinite(x).all():
        return "Some embeddings are not finite: training has diverged; try a lower learning rate."
    if np.abs(x - x[0]).max() <= 1e-3 * np.abs(x).max():
        return (
            "All embeddings are (nearly) identical: the model has collapsed, and the accuracy is that of the "
            "majority class; try a lower learning rate, or an earlier checkpoint."
        )
    return None
