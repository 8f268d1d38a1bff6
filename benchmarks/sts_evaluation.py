"""Compare the time of the seven STS tasks with sentence-transformers' EmbeddingSimilarityEvaluator on the same pairs.

Both run in fp32 with batches of 32, and at their defaults, alternately in one process. The peer uses one evaluator per
task over all pairs of the task, which is the "all" setting. The scores are compared.

    python benchmarks/sts_evaluation.py MODEL DATA_FOLDER [--repeats 3] [--limit PAIRS_PER_SUBSET]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from harness import environment
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.sts import SEVEN_STS, STSTask, Subset, evaluate_sts, load_tasks

RESULTS = Path(__file__).parent / "results" / "sts_evaluation.json"


def main() -> None:
    """Measure, print, and write the results unless the pairs were limited."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model folder or hub name")
    parser.add_argument("data", type=Path, help="folder of tasks in SentEval's layout")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of alternating measurements")
    parser.add_argument("--limit", type=int, help="pairs per subset, for a quick test")
    arguments = parser.parse_args()
    quiet_libraries()

    model = load_encoder(arguments.model)
    tasks = [shortened(task, arguments.limit) for task in load_tasks(arguments.data, SEVEN_STS)]
    ways: dict[str, Callable[[], list[float]]] = {
        "ours, fp32": lambda: ours(model, tasks, precision="fp32"),
        "sentence-transformers, fp32": lambda: peers(model, tasks, batch_size=32),
        "ours, defaults": lambda: ours(model, tasks),  # fp32 on every machine
        "sentence-transformers, defaults": lambda: peers(model, tasks),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    scores: dict[str, list[float]] = {}
    ours(model, [shortened(task, 8) for task in tasks])  # warm up
    for _ in range(arguments.repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            scores[name] = way()
            seconds[name].append(time.perf_counter() - started)

    worst = max(abs(a - b) for a, b in zip(scores["ours, fp32"], scores["sentence-transformers, fp32"], strict=True))
    ratios = {
        kind: [a / b for a, b in zip(seconds[f"ours, {kind}"], seconds[f"sentence-transformers, {kind}"], strict=True)]
        for kind in ("fp32", "defaults")
    }
    show(seconds, ratios, worst)
    if not arguments.limit:
        write(seconds, ratios, worst, tasks)


def shortened(task: STSTask, limit: int | None) -> STSTask:
    """Return a task with the first pairs of each subset."""
    subsets = [Subset(s.name, s.sentences1[:limit], s.sentences2[:limit], s.gold[:limit]) for s in task.subsets]
    return STSTask(task.name, tuple(subsets))


def ours(model: SentenceTransformer, tasks: list[STSTask], **options: str) -> list[float]:
    """Return the seven scores by ``evaluate_sts``."""
    return [score.main for score in evaluate_sts(model, tasks, **options)]


def peers(model: SentenceTransformer, tasks: list[STSTask], **options: int) -> list[float]:
    """Return the seven scores by sentence-transformers."""
    figures = []
    for task in tasks:
        first, second, gold = ([x for subset in task.subsets for x in columns_of(subset)[side]] for side in range(3))
        evaluator = EmbeddingSimilarityEvaluator(first, second, gold, name=task.name, write_csv=False, **options)
        figures.append(100.0 * evaluator(model)[f"{task.name}_spearman_cosine"])
    return figures


def columns_of(subset: Subset) -> tuple[tuple[str, ...], tuple[str, ...], tuple[float, ...]]:
    """Return first sentences, second sentences and scores."""
    return subset.sentences1, subset.sentences2, subset.gold


def show(seconds: dict[str, list[float]], ratios: dict[str, list[float]], worst: float) -> None:
    """Print medians and ranges."""
    table = Table(title="Seven STS tasks", caption=f"largest difference between two scores in fp32: {worst:.4f}")
    for number, heading in enumerate(("evaluator, precision", "median s", "range")):
        table.add_column(heading, justify="right" if number else "left")
    for name, values in seconds.items():
        table.add_row(name, f"{median(values):.1f}", f"{min(values):.1f} to {max(values):.1f}")
    table.add_section()
    for kind, values in ratios.items():
        table.add_row(f"ratio, {kind}", f"{median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}")
    Console().print(table)


def write(
    seconds: dict[str, list[float]],
    ratios: dict[str, list[float]],
    worst: float,
    tasks: list[STSTask],
) -> None:
    """Write the results to the folder ``results``."""
    found = {
        "environment": environment(),
        "pairs": sum(task.rows for task in tasks),
        "seconds": seconds,
        "ratios": ratios,
        "largest_difference": worst,
    }
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
