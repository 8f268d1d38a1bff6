"""Compare our transfer accuracies with those of SentEval's training procedure.

The classifier below follows SentEval's standard setting and shares only the data and the embeddings with
``smoothcse.evaluation.transfer``. It is a logistic regression trained by Adam (learning rate 0.001, the L2 penalty as
weight decay of weights and bias) with minibatches of 64. The held-out accuracy is evaluated every 4 epochs; training
ends with the sixth evaluation without a new best, or after 200 epochs, and the best weights are kept. All fits of a
cross-validation run in parallel as one batch of problems.

    python benchmarks/transfer_parity.py MODEL DATA_FOLDER [--tasks CR TREC] [--without-normalise] [--limit 12000]

SentEval's learning rate and patience are not suited to embeddings of length 1. ``--without-normalise`` removes the
normalisation from the model, as in the encoders of the papers. Without ``--limit``, each task is added to the results
of earlier calls when it is done.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from harness import RESULTS, environment
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from sklearn.model_selection import StratifiedKFold
from torch import Tensor
from torch.nn import functional

from smoothcse.encoders.assemble import assemble
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.transfer import (
    PENALTIES,
    SEED,
    TRANSFER_TASKS,
    Split,
    TransferTask,
    evaluate_transfer,
    load_transfers,
)

Rows = NDArray[np.int64]
Problem = tuple[Rows, Rows, float]  # rows to train on, rows to stop by, penalty

BATCH, TENACITY, EPOCHS_PER_LOOK, MAX_EPOCHS, LEARNING_RATE = 64, 5, 4, 200, 1e-3
HELD_OUT = 0.05  # of the training rows, to stop the final fit by


class Embeddings:
    """Encodes sentences and caches the last result, so that both classifiers read the same embeddings."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.rows: NDArray[np.float32] | None = None

    def __call__(self, model: SentenceTransformer, sentences: Sequence[str], **options: object) -> NDArray[np.float32]:
        """Return the embeddings of ``smoothcse.encode`` in fp32."""
        if self.rows is None or list(sentences) != self.sentences:
            self.sentences, self.rows = list(sentences), encode(model, sentences, precision="fp32")
        return self.rows


# ---- SentEval's classifier --------------------------------------------------------------------------------


def train(x: Tensor, y: Tensor, problems: Sequence[Problem]) -> tuple[Tensor, Tensor]:
    """Train all problems in parallel.

    Args:
        x: Features ``(N, d)``.
        y: Labels ``(N,)``.
        problems: Training rows, held-out rows and penalty of each problem.

    Returns:
        The best weights ``(P, d + 1, C)``, bias last, and their held-out accuracies ``(P,)``.
    """
    fitted, held_out = _rows([p[0] for p in problems]), [torch.from_numpy(p[1]) for p in problems]
    penalty = torch.tensor([p[2] for p in problems])[:, None, None]
    weights = _initial(x.shape[1], int(y.max()) + 1).repeat(len(problems), 1, 1)
    optimiser = torch.optim.Adam([weights], lr=LEARNING_RATE)
    best, best_accuracy = weights.clone(), torch.full((len(problems),), -1.0)
    misses, running = torch.zeros(len(problems)), torch.ones(len(problems), dtype=torch.bool)
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(0, MAX_EPOCHS + 1, EPOCHS_PER_LOOK):
        for _ in range(EPOCHS_PER_LOOK):
            _epoch(x, y, fitted, weights, penalty, optimiser, generator)
        accuracy = torch.stack([_accuracy(weights[i], x, y, rows) for i, rows in enumerate(held_out)])
        better = running & (accuracy > best_accuracy)
        best[better], best_accuracy[better] = weights[better], accuracy[better]
        running &= better | (misses < TENACITY)
        misses += ~better
        if not running.any():
            break
    return best, best_accuracy


def _epoch(
    x: Tensor,
    y: Tensor,
    fitted: Tensor,
    weights: Tensor,
    penalty: Tensor,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    order = torch.rand(fitted.shape, generator=generator).argsort(dim=1)
    shuffled = fitted.gather(1, order)
    for rows in shuffled.split(BATCH, dim=1):
        batch = x[rows]  # (P, B, d)
        logits = torch.baddbmm(weights[:, -1:], batch, weights[:, :-1])
        error = (logits.softmax(dim=2) - functional.one_hot(y[rows], weights.shape[2])) / rows.shape[1]
        gradient = torch.cat([batch.mT @ error, error.sum(dim=1, keepdim=True)], dim=1)
        weights.grad = gradient + penalty * weights
        optimiser.step()


def _initial(dim: int, classes: int) -> Tensor:
    torch.manual_seed(SEED)
    layer = torch.nn.Linear(dim, classes)
    return torch.cat([layer.weight.detach().T, layer.bias.detach()[None]])


def _rows(parts: Sequence[Rows]) -> Tensor:
    """Stack training rows, truncated to the shortest fold; the sizes of folds differ by at most one row."""
    shortest = min(map(len, parts))
    return torch.stack([torch.from_numpy(part[:shortest]) for part in parts])


def _accuracy(weights: Tensor, x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    return ((x[rows] @ weights[:-1] + weights[-1]).argmax(dim=1) == y[rows]).float().mean()


# ---- SentEval's validation --------------------------------------------------------------------------------


def nested(x: Tensor, y: Tensor) -> float:
    """Return the accuracy over ten outer folds, each with the penalty chosen by ten inner folds."""
    accuracies = []
    for rest, fold in _folds(np.arange(len(y)), y):
        penalty = _choose(x, y, _folds(rest, y))
        accuracies.append(_final(x, y, rest, fold, penalty))
    return float(np.mean(accuracies))


def _choose(x: Tensor, y: Tensor, folds: Sequence[tuple[Rows, Rows]]) -> float:
    problems = [(rest, fold, penalty) for penalty in PENALTIES for rest, fold in folds]
    _, accuracy = train(x, y, problems)
    means = accuracy.view(len(PENALTIES), -1).mean(dim=1)
    return PENALTIES[int(means.argmax())]


def _final(x: Tensor, y: Tensor, rows: Rows, test: Rows, penalty: float) -> float:
    order = np.random.default_rng(SEED).permutation(rows)
    cut = int(HELD_OUT * len(rows))
    weights, _ = train(x, y, [(order[cut:], order[:cut], penalty)])
    return 100 * float(_accuracy(weights[0], x, y, torch.from_numpy(test)))


def _folds(rows: Rows, y: Tensor) -> list[tuple[Rows, Rows]]:
    cut = StratifiedKFold(10, shuffle=True, random_state=SEED)
    return [(rows[rest], rows[fold]) for rest, fold in cut.split(rows, y[rows])]


def senteval_accuracy(embed: Callable[[list[str]], NDArray[np.float32]], task: TransferTask) -> float:
    """Return the accuracy of SentEval's training procedure."""
    texts = [text for split in task.splits.values() for example in split.texts for text in example]
    place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    embeddings = torch.from_numpy(embed(list(place)))
    examples = [example for split in task.splits.values() for example in split.texts]
    columns = [embeddings[[place[text] for text in column]] for column in zip(*examples, strict=True)]
    x = columns[0] if len(columns) == 1 else torch.cat([(columns[0] - columns[1]).abs(), columns[0] * columns[1]], 1)
    y = torch.tensor([label for split in task.splits.values() for label in split.labels])
    ends = np.cumsum([len(split.labels) for split in task.splits.values()])
    rows = dict(zip(task.splits, np.split(np.arange(len(y)), ends[:-1]), strict=True))
    if "test" not in rows:
        return nested(x, y)
    if "dev" not in rows:
        return _final(x, y, rows["train"], rows["test"], _choose(x, y, _folds(rows["train"], y)))
    weights, accuracy = train(x, y, [(rows["train"], rows["dev"], penalty) for penalty in PENALTIES])
    return 100 * float(_accuracy(weights[int(accuracy.argmax())], x, y, torch.from_numpy(rows["test"])))


# ---- the comparison ---------------------------------------------------------------------------------------


def limited(task: TransferTask, limit: int | None) -> TransferTask:
    """Return a task with at most ``limit`` training examples, drawn at random and kept in order."""
    train_split = task.splits["train"]
    if limit is None or len(train_split.labels) <= limit:
        return task
    kept = np.sort(np.random.default_rng(0).permutation(len(train_split.labels))[:limit])
    smaller = Split(tuple(train_split.texts[i] for i in kept), tuple(train_split.labels[i] for i in kept))
    return TransferTask(task.name, {**task.splits, "train": smaller})


def main() -> None:
    """Print both accuracies, their difference and their CPU times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="model folder or hub name")
    parser.add_argument("data", type=Path, help="folder of tasks in SentEval's layout")
    parser.add_argument("--tasks", nargs="+", default=TRANSFER_TASKS, help="names of transfer tasks")
    parser.add_argument("--without-normalise", action="store_true", help="evaluate embeddings without normalisation")
    parser.add_argument("--limit", type=int, help="training examples per task")
    options = parser.parse_args()
    model, embeddings = load_encoder(options.model, device="cpu"), Embeddings()
    name = Path(options.model).name
    if options.without_normalise:
        model = assemble([module for module in model if not isinstance(module, Normalize)], model)
        name += " without-normalise"
    for task in load_transfers(options.data, options.tasks):
        task = limited(task, options.limit)
        started = time.process_time()
        with patch("smoothcse.evaluation.transfer.encode", embeddings):
            (score,) = evaluate_transfer(model, [task])
        ours = time.process_time()
        accuracy = senteval_accuracy(partial(embeddings, model), task)
        theirs = time.process_time()
        print(
            f"{task.name:5} n={len(task.splits['train'].labels):6}"
            f"  ours {score.main:6.2f} ({ours - started:6.1f} s)"
            f"  SentEval {accuracy:6.2f} ({theirs - ours:6.1f} s)"
            f"  difference {score.main - accuracy:+.2f}",
            flush=True,
        )
        if options.limit is None:
            found = {"ours": score.main, "senteval": accuracy, "difference": score.main - accuracy}
            keep_task(name, task.name, found | {"seconds": [ours - started, theirs - ours]})


def keep_task(model: str, task: str, found: dict[str, object]) -> None:
    """Add the result of one task and model to the results file."""
    file = RESULTS / "transfer_parity.json"
    models = json.loads(file.read_text(encoding="utf-8"))["models"] if file.is_file() else {}
    models.setdefault(model, {})[task] = found
    text = {"environment": environment(), "models": models}
    file.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
