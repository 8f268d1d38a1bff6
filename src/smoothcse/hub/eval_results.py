"""The score of a run in the hub's schema (model-index), from which the hub shows a table beside the model."""

from __future__ import annotations

import re

from huggingface_hub import EvalResult

from smoothcse.runs.manifest import Scores

_METRICS = {
    "MRR x 100": ("information-retrieval", "mrr", "MRR, x 100"),
    "Spearman x 100": ("semantic-similarity", "spearman_cosine", "Spearman of the cosine, x 100"),
    "accuracy x 100": ("triplet", "cosine_accuracy", "Accuracy of the cosine, x 100"),
}
"""Task type, metric type and metric name of the metrics that labelled criteria end with."""

_DATASETS = {"STS-B dev": "stsb", "retrieval in the Python documentation": "python-docs"}


def eval_results(result: Scores | None) -> list[EvalResult]:
    """Return the best score of a run; an empty list if no labels selected the step.

    Args:
        result: Scores of the run; None before it has finished.
    """
    data, _, metric = result.criterion.rpartition(", ") if result else ("", "", "")
    if result is None or metric not in _METRICS:
        return []
    task, kind, name = _METRICS[metric]
    return [
        EvalResult(
            task_type=task,
            dataset_type=_DATASETS.get(data) or re.sub(r"[^\w.]+", "-", data).strip("-").lower(),
            dataset_name=data,
            metric_type=kind,
            metric_name=name,
            metric_value=round(result.best_score, 2),
        )
    ]
