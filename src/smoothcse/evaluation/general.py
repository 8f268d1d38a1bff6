"""General quality: STS on a fixed sample, to see what training on one domain costs elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smoothcse.evaluation.data import HUB, sts_folder
from smoothcse.evaluation.score import Score, average
from smoothcse.evaluation.sts import evaluate_sts
from smoothcse.evaluation.sts_tasks import STSTask, load_tasks, sample_pairs

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def general_quality(
    model: SentenceTransformer,
    source: Path | str = HUB,
    *,
    pairs: int = 300,
    seed: int = 0,
    **encode_options: Any,
) -> Score:
    """Score a model on a fixed sample of the seven STS tasks.

    The sample depends on the data, ``pairs`` and ``seed`` alone, so that scores before and after training can be
    compared. Do not compare them with published ones, which use all pairs.

    Args:
        model: Any sentence-transformers model.
        source: Folder in SentEval's layout, folder that contains such a folder named ``sts``, or ``"hub"``.
        pairs: Pairs per task.
        seed: Seed of the sample.
        **encode_options: Options of :func:`~smoothcse.encoders.inference.encode`, e.g. ``batch_size``.

    Returns:
        One score named ``general STS``: ``main`` is the mean of the seven tasks' Spearman correlations times 100, and
        ``metrics`` has each of them by the name of its task.

    Raises:
        SmoothCSEError: A file is missing or broken, or the Hub cannot be read.
    """
    return score_general(model, general_tasks(source, pairs=pairs, seed=seed), **encode_options)


def general_tasks(source: Path | str = HUB, *, pairs: int = 300, seed: int = 0) -> list[STSTask]:
    """Read the sample that :func:`general_quality` scores, once for several models; its arguments and errors."""
    return [sample_pairs(task, pairs, seed) for task in load_tasks(sts_folder(source))]


def score_general(model: SentenceTransformer, tasks: Sequence[STSTask], **encode_options: Any) -> Score:
    """Score a model on the tasks of :func:`general_tasks`; see :func:`general_quality`."""
    scores = evaluate_sts(model, tasks, **encode_options)
    return Score(
        task="general STS",
        main=average(scores),
        metrics={score.task: score.main for score in scores},
        rows=sum(score.rows for score in scores),
        diagnosis=next((score.diagnosis for score in scores if score.diagnosis), None),
    )
