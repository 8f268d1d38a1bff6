"""Measurements of a report: similarities, neighbours and scores, before and after training.

Sentences are sampled from the run's corpus as for the label-free criterion, so that uniformity is the value that a run
without labels logs. Alignment is too, except for the dropout and for being measured on half of a full sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.hardware import find_hardware
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.data import sts_folder
from smoothcse.evaluation.own_labels import is_own_labels
from smoothcse.evaluation.sts import STSTask, load_task
from smoothcse.objectives import GaussianNoise
from smoothcse.objectives.geometry import alignment, uniformity
from smoothcse.objectives.rows import unit_rows
from smoothcse.report.read import RecordedRun
from smoothcse.views.embed import dropout_views

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

    from smoothcse.runs.config import TrainConfig

SENTENCES = 512
"""Maximum number of sentences in a sample."""

PAIRS = 500
"""Maximum number of pairs with gold scores."""

NEIGHBOURS = 3
"""Number of neighbours per sentence."""

_DIVERGED = "Some of the model's embeddings are not finite: training has diverged."


@dataclass(frozen=True)
class Similarities:
    """Similarities of a model on ``n`` sentences, and on two dropout views of ``v`` of them.

    Attributes:
        alignment: Alignment of the two dropout views.
        uniformity: Uniformity of the embeddings without dropout.
        positives: Cosines of a sentence's two dropout views, ``(v,)``.
        negatives: Cosines of one sentence's first view and another sentence's second view, ``(v (v - 1),)``.
        noise: Cosines of first views and Gaussian vectors, ``(v * v,)``.
        neighbours: Indices of the nearest other sentences, nearest first, ``(n, NEIGHBOURS)`` or fewer columns.
        cosines: Cosines of the neighbours, in the same shape.
    """

    alignment: float
    uniformity: float
    positives: NDArray[np.float32]
    negatives: NDArray[np.float32]
    noise: NDArray[np.float32]
    neighbours: NDArray[np.int64]
    cosines: NDArray[np.float32]


@dataclass(frozen=True)
class GoldPairs:
    """Cosines of a model on pairs of STS-B dev.

    Attributes:
        gold: Human scores of the pairs, 0 to 5.
        cosines: Cosines of the pairs, in the same order.
    """

    gold: NDArray[np.float64]
    cosines: NDArray[np.float32]


@dataclass(frozen=True)
class MeasuredModel:
    """Measurements of one model of a run.

    Attributes:
        label: ``start``, ``best`` or ``last``, and the step.
        step: Training step of the model.
        similarities: Similarities, or None without the corpus.
        gold: Pairs with gold scores, or None without such scores.
    """

    label: str
    step: int
    similarities: Similarities | None
    gold: GoldPairs | None


@dataclass(frozen=True)
class Samples:
    """All measurements of one run.

    Attributes:
        sentences: Sample of sentences; empty without the corpus.
        models: Measured models by ``start``, ``best`` and ``last``. The best model is left out if it is the start, the
            last one if it is the best or is not needed.
        missing: One sentence for each of ``corpus``, ``gold``, ``start``, ``best`` and ``last`` that is needed but
            unavailable.
        notes: Caveats.
    """

    sentences: list[str]
    models: dict[str, MeasuredModel]
    missing: dict[str, str]
    notes: list[str]

    @property
    def before(self) -> MeasuredModel | None:
        """The model that training started from."""
        return self.models.get("start")

    @property
    def after(self) -> MeasuredModel | None:
        """The selected model, or the model after the last step if the selected model is the start."""
        return self.models.get("best") or self.models.get("last")


def draw_samples(run: RecordedRun) -> Samples:
    """Measure a run's start, best and last model on its corpus and, if available, on pairs with gold scores.

    Missing models, data or scores do not stop the measurement; the result states what is missing.
    """
    missing: dict[str, str] = {}
    notes: list[str] = []
    sentences = _sentences(run, missing, notes)
    task = _gold_task(run.config, missing)
    models = {}
    wanted = _wanted(run) if sentences or task else {}
    for key, (label, step) in wanted.items():
        try:
            model = _load(run, key)
            found = measure_similarities(model, run.config, sentences) if sentences else None
            only_path = key == "last" and "best" in wanted  # the last model then appears only on the path
            gold = measure_gold_pairs(model, task) if task and not only_path else None
            models[key] = MeasuredModel(label, step, found, gold)
        except SmoothCSEError as error:
            missing[key] = str(error)
    return Samples(sentences, models, missing, notes)


def measure_similarities(model: SentenceTransformer, config: TrainConfig, sentences: Sequence[str]) -> Similarities:
    """Measure a model on sentences.

    Args:
        model: Model as shipped, without a training head.
        config: Configuration of the run, for the maximum length of the views and for the noise.
        sentences: Two or more distinct sentences.

    Raises:
        SmoothCSEError: If embeddings are not finite.
    """
    # Views take most of the time, so only half of a full sample is used.
    viewed = sentences[::2] if len(sentences) == SENTENCES else sentences
    first, second = dropout_views(model, viewed, max_length=config.max_length)
    embeddings = torch.from_numpy(encode(model, sentences))
    if not (embeddings.isfinite().all() and first.isfinite().all() and second.isfinite().all()):
        raise SmoothCSEError(_DIVERGED)
    x, y = unit_rows(first.cpu()), unit_rows(second.cpu())
    noise = unit_rows(GaussianNoise(config.seed, config.noise_mean, config.noise_std).draw(0, len(x), x.shape[1]))
    across = x @ y.T
    others = ~torch.eye(len(x), dtype=torch.bool)
    cosines, neighbours = _nearest(embeddings, NEIGHBOURS)
    return Similarities(
        alignment=float(alignment(first, second)),
        uniformity=float(uniformity(embeddings)),
        positives=across.diagonal().numpy(),
        negatives=across[others].numpy(),
        noise=(x @ noise.T).flatten().numpy(),
        neighbours=neighbours.numpy(),
        cosines=cosines.numpy(),
    )


def _nearest(embeddings: Tensor, count: int) -> tuple[Tensor, Tensor]:
    unit = unit_rows(embeddings.cpu())
    cosines = (unit @ unit.T).fill_diagonal_(-torch.inf)
    values, rows = cosines.topk(min(count, len(unit) - 1), dim=1)
    return values, rows


def measure_gold_pairs(model: SentenceTransformer, task: STSTask) -> GoldPairs:
    """Measure a model on a sample of pairs with human scores.

    Raises:
        SmoothCSEError: If embeddings are not finite.
    """
    pairs = [
        pair for subset in task.subsets for pair in zip(subset.sentences1, subset.sentences2, subset.gold, strict=True)
    ]
    rows = np.random.default_rng(0).permutation(len(pairs))[:PAIRS]
    firsts, seconds, gold = zip(*(pairs[row] for row in rows), strict=True)
    x, y = torch.from_numpy(encode(model, firsts + seconds)).chunk(2)
    cosines = torch.cosine_similarity(x, y)
    if not cosines.isfinite().all():
        raise SmoothCSEError(_DIVERGED)
    return GoldPairs(np.array(gold), cosines.numpy())


def _sentences(run: RecordedRun, missing: dict[str, str], notes: list[str]) -> list[str]:
    config = run.config
    try:
        corpus = load_sentences(
            config.corpus, column=config.column, columns=config.columns, limit=config.limit, seed=config.seed
        )
    except SmoothCSEError as error:
        missing["corpus"] = str(error)
        return []
    then = run.manifest.fingerprint
    if then and then != corpus.report.fingerprint:
        notes.append(
            f"The text has changed since the run (fingerprint {then[:12]} then, {corpus.report.fingerprint[:12]} "
            "now); similarities and neighbours are measured on the current text."
        )
    chosen = np.random.default_rng(0).permutation(len(corpus))[:SENTENCES]
    # Sorted by length, because dropout_views keeps the order and pads each batch to its longest sentence.
    return sorted(corpus.dataset.select(np.sort(chosen))["sentence"], key=len)


def _gold_task(config: TrainConfig, missing: dict[str, str]) -> STSTask | None:
    if config.dev in (None, "none", "python-docs") or is_own_labels(config.dev):
        missing["gold"] = "This run was not selected by STS-B dev, so there are no scores to plot."
        return None
    try:
        return load_task(sts_folder(str(config.dev)), "STSBenchmark-dev")
    except SmoothCSEError as error:
        missing["gold"] = str(error)
        return None


def _wanted(run: RecordedRun) -> dict[str, tuple[str, int]]:
    """Return label and step of each model to measure, without duplicates."""
    wanted = {"start": ("start, step 0", 0)}
    best, last = run.result.best_step if run.result else 0, run.last_step if run.finished else 0
    if best:
        wanted["best"] = (f"{'best and last' if best == last else 'best'}, step {best:,}", best)
    if last > best and not (best and run.path()):
        wanted["last"] = (f"last, step {last:,}", last)
    return wanted


def _load(run: RecordedRun, key: str) -> SentenceTransformer:
    config = run.config
    device = "cpu" if find_hardware("auto").device_type == "cpu" else None
    if key == "start":
        return build_encoder(
            config.model,
            config.pooling,
            False,
            config.dropout,
            None,
            device=device,
            needs_dropout=False,
            bidirectional=config.bidirectional,
        )
    folder = {"best": run.folder.best, "last": run.folder.last}[key]
    if not folder.is_dir():
        raise SmoothCSEError(f"The model {folder} no longer exists.")
    return load_encoder(folder, device=device)
