"""Criteria that select the best step: benchmark data, the user's own labels or, without labels, geometry."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.evaluation import BaseEvaluator

from smoothcse.corpus import Corpus
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.own_labels import is_own_labels, load_own_labels
from smoothcse.objectives.geometry import alignment, uniformity
from smoothcse.runs.config import TrainConfig
from smoothcse.views.embed import dropout_views

DEV_SCORE = "dev_score"
"""Name of the metric by which every criterion selects; higher is better."""


@dataclass(frozen=True)
class Criterion:
    """A way to score a model during training.

    Attributes:
        name: Displayed name, such as ``STS-B dev, Spearman x 100``.
        score: Function from a model to its metrics by name, including :data:`DEV_SCORE`.
        fingerprint: 32 hex digits that depend on the labelled data; None without labels.
        notes: Warnings about the labelled data, one sentence each.
    """

    name: str
    score: Callable[[SentenceTransformer], dict[str, float]]
    fingerprint: str | None = None
    notes: tuple[str, ...] = ()


class CriterionEvaluator(BaseEvaluator):
    """A criterion as an evaluator for the trainer.

    Args:
        criterion: Criterion to evaluate.
        known_first: Metrics to return from the first call; None to evaluate.
    """

    def __init__(self, criterion: Criterion, known_first: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.criterion = criterion
        self.known_first = known_first
        self.primary_metric = DEV_SCORE
        self.seconds = 0.0

    def __call__(
        self, model: SentenceTransformer, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """Return the metrics of the model, and add the time taken to ``seconds``."""
        if self.known_first is not None:
            known, self.known_first = self.known_first, None
            return dict(known)
        started = time.perf_counter()
        metrics = self.criterion.score(model)
        self.seconds += time.perf_counter() - started
        return metrics


def score_widths(criterion: Criterion, folder: Path, widths: Sequence[int], device: torch.device) -> dict[int, float]:
    """Score a saved model with its embeddings cut to each number of first dimensions.

    Args:
        criterion: Criterion of the run.
        folder: Model folder.
        widths: Numbers of dimensions.
        device: Device to score on.
    """
    if not widths:
        return {}
    model = load_encoder(folder, device=str(device))
    scores = {}
    for width in sorted(widths, reverse=True):
        with model.truncate_embeddings(width):
            scores[width] = criterion.score(model)[DEV_SCORE]
    return scores


def choose_criterion(config: TrainConfig, corpus: Corpus) -> Criterion:
    """Return the criterion that ``config.dev`` selects; see its description for the default.

    Raises:
        SmoothCSEError: If the dev data cannot be read.
    """
    dev = config.dev or ("python-docs" if config.corpus == "python-docs" else "none")
    if dev == "none":
        return label_free(corpus, config.max_length)
    if dev == "python-docs":
        return python_docs_retrieval()
    if is_own_labels(dev):
        return own_labels(dev)
    return stsb_dev(dev)


def own_labels(source: str | Path) -> Criterion:
    """Return the criterion for the user's own labels: MRR, Spearman correlation or accuracy x 100, by their kind.

    Args:
        source: Source as in :func:`~smoothcse.evaluation.own_labels.load_own_labels`.
    """
    labels = load_own_labels(source)

    def score(model: SentenceTransformer) -> dict[str, float]:
        return {DEV_SCORE: labels.score(model).value}

    name = f"{len(labels):,} {labels.kind} of {labels.name}, {labels.metric}"
    return Criterion(name, score, labels.fingerprint, labels.notes)


def stsb_dev(source: str | Path) -> Criterion:
    """Return the criterion for STS-B dev: Spearman correlation x 100 on its 1,500 pairs.

    Args:
        source: Folder in SentEval's layout, or ``"hub"``.
    """
    from smoothcse.evaluation.data import sts_folder
    from smoothcse.evaluation.sts import evaluate_sts, load_task
    from smoothcse.evaluation.sts_tasks import STSB_DEV

    task = load_task(sts_folder(source), STSB_DEV)

    def score(model: SentenceTransformer) -> dict[str, float]:
        [result] = evaluate_sts(model, [task])
        return {DEV_SCORE: result.main}

    return Criterion("STS-B dev, Spearman x 100", score, _fingerprint(task))


def python_docs_retrieval() -> Criterion:
    """Return the criterion for retrieval in the Python documentation: mean reciprocal rank x 100."""
    from smoothcse.evaluation.retrieval import evaluate_retrieval, python_docs_task

    task = python_docs_task()

    def score(model: SentenceTransformer) -> dict[str, float]:
        metrics = evaluate_retrieval(model, task)
        return {DEV_SCORE: metrics["MRR"], **metrics}

    data = (task.queries, task.documents, task.relevant.tolist())
    return Criterion("retrieval in the Python documentation, MRR x 100", score, _fingerprint(data))


def label_free(corpus: Corpus, max_length: int, sample: int = 512, seed: int = 0) -> Criterion:
    """Return the criterion without labels: alignment and uniformity of a sample of the corpus.

    The score is ``-(alignment + uniformity)`` (Wang & Isola, ICML 2020), with the alignment of two dropout views of
    each sentence and the uniformity of embeddings without dropout. InfoNCE optimises both in the limit, so a model
    that collapses, or whose views drift apart, scores lower. The score does not measure meaning and can disagree with
    labelled data, so prefer ``dev`` if you have labels. For a corpus of labelled pairs, the alignment is that of the
    pairs, without dropout.

    Args:
        corpus: Training corpus. The sample is also trained on, which does little harm as no labels are involved.
        max_length: Tokens per sentence for the two views, as in training.
        sample: Number of sentences.
        seed: Seed of the sample and of the dropout of its views.
    """
    chosen = np.random.default_rng(seed).permutation(len(corpus))[:sample]
    rows = corpus.dataset[np.sort(chosen)]
    sentences, positives = rows["sentence"], rows.get("positive")

    def score(model: SentenceTransformer) -> dict[str, float]:
        embeddings = torch.from_numpy(encode(model, sentences))
        if positives is None:
            align = alignment(*dropout_views(model, sentences, max_length=max_length, seed=seed))
        else:
            align = alignment(embeddings, torch.from_numpy(encode(model, positives)))
        uniform = uniformity(embeddings)
        return {DEV_SCORE: -float(align + uniform), "alignment": float(align), "uniformity": float(uniform)}

    kind = "label-free" if positives is None else f"{corpus.report.unit} trained on"
    return Criterion(f"{kind}: -(alignment + uniformity)", score)


def _fingerprint(data: object) -> str:
    return hashlib.sha256(repr(data).encode()).hexdigest()[:32]
