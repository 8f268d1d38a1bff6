"""Compare the quality of models trained under autocast and by layers in bf16: STS-B dev and MRR over seeds.

Both take the other parts of the fast path, and the steps of quality.py. The two round differently; a difference within
the standard deviation over seeds is noise. MRR is that of the task python-docs, on 1,000 of its pairs. With two cores
with bf16, the six runs take less than ten minutes.

    python benchmarks/bf16_quality.py TEXT STS_FOLDER [--seeds 3] [--steps 60] [--quick]
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from unittest.mock import patch

import numpy as np
from harness import keep, show
from quality import configuration, parse
from rich.console import Console

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.retrieval import RetrievalTask, evaluate_retrieval, python_docs_task
from smoothcse.fastpath import PARTS
from smoothcse.training import TrainConfig, train
from smoothcse.training.selection import DEV_SCORE

ARMS = {"autocast": tuple(part for part in PARTS if part != "bf16 layers"), "bf16 layers": PARTS}
PAIRS = 1000
Scores = dict[str, dict[str, list[float]]]


def main() -> None:
    """Train both ways with each seed; print and write the results."""
    arguments = parse(__doc__)
    quiet_libraries()
    seeds, steps, batch = (1, 1, 4) if arguments.quick else (arguments.seeds, arguments.steps, 64)
    task = first_pairs(4 if arguments.quick else PAIRS)
    scores: Scores = {arm: {"STS-B dev": [], "MRR": []} for arm in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            config = configuration(arguments.text, arguments.sts, Path(folder) / "run", batch, steps, seed)
            for arm in ARMS:
                dev, mrr = scores_of(config.replace(precision="bf16"), arm, task)
                scores[arm]["STS-B dev"].append(dev)
                scores[arm]["MRR"].append(mrr)
                print(f"seed {seed}, {arm}: STS-B dev {dev:.2f}, MRR {mrr:.2f}", flush=True)
    show(f"After {steps} steps in bf16, batch {batch}", ["arithmetic", "STS-B dev", "MRR"], rows_of(scores))
    keep("bf16_quality", {"steps": steps, "batch": batch, "scores": scores}, arguments.quick)


def scores_of(config: TrainConfig, arm: str, task: RetrievalTask) -> tuple[float, float]:
    """Train with the parts of an arm and return STS-B dev and MRR of the last model, both computed in fp32."""
    with patch("smoothcse.training.plan.PARTS", ARMS[arm]):
        result = train(config, overwrite=True, start_metrics={DEV_SCORE: 0.0}, console=Console(quiet=True))
    return result.last_score, evaluate_retrieval(load_encoder(result.last), task)["MRR"]


def first_pairs(count: int) -> RetrievalTask:
    """Return the first pairs of python-docs as a task."""
    task = python_docs_task()
    return replace(
        task, queries=task.queries[:count], documents=task.documents[:count], relevant=np.arange(len(task))[:count]
    )


def rows_of(scores: Scores) -> list[list[str]]:
    """Return the cells of each arm, and of the difference over seeds."""
    first, second = scores.values()
    differences = {name: [b - a for a, b in zip(first[name], values, strict=True)] for name, values in second.items()}
    return [
        [arm, *(mean_sd(values) for values in found.values())]
        for arm, found in {**scores, "difference": differences}.items()
    ]


def mean_sd(values: list[float]) -> str:
    """Return mean and standard deviation over seeds."""
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}, one seed"


if __name__ == "__main__":
    main()
