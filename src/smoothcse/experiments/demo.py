"""The demo: train all-MiniLM-L6-v2 with [CLS] pooling on the documentation of the installed Python.

The model was trained with mean pooling, so its [CLS] vector starts as a poor sentence embedding. All printed figures
are measured during the demo.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sentence_transformers import SentenceTransformer

from smoothcse._utils.tables import FigureTable
from smoothcse.corpus.python_docs import iter_docstrings
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.packaged import PACKAGED_MINILM
from smoothcse.evaluation.answers import answer
from smoothcse.evaluation.retrieval import evaluate_retrieval, python_docs_task
from smoothcse.experiments.in_process import InProcess
from smoothcse.experiments.planned_runs import Plan, PlannedRun
from smoothcse.experiments.runner import run_plan
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.curves import learning_curves

QUESTIONS = (
    "how do I pause a program",
    "remove white space from both ends of a text",
    "find the largest of several numbers",
    "download a web page",
    "run another program and read what it prints",
)

_METRICS = ("MRR", "R@1", "R@10")

Curves = dict[str, list[dict[str, Any]]]


def plan_demo(output: Path, steps: int) -> Plan:
    """Return the two runs of the demo: GS-InfoNCE and its control."""
    config = TrainConfig(
        corpus="python-docs", model=PACKAGED_MINILM, pooling="cls", max_steps=steps, eval_steps=max(1, steps // 2)
    )
    control = config.replace(noise_count=0)
    runs = [PlannedRun("gs-infonce", "GS-InfoNCE", config), PlannedRun("infonce", "InfoNCE, the control", control)]
    return Plan(runs, output)


def run_demo(output: Path, steps: int = 60, console: Console | None = None) -> None:
    """Train GS-InfoNCE and its control on ``python-docs`` and print the results.

    Args:
        output: Folder for the two runs (``gs-infonce`` and ``infonce``) and ``curves.png``. An earlier demo in it is
            replaced.
        steps: Training steps of each run.
        console: Console for progress and results; None for standard output.

    Raises:
        SmoothCSEError: If the extra ``demo`` is not installed, or the folder has other content.
    """
    console = console or Console()
    plan = plan_demo(output, steps)
    console.print("Two runs: GS-InfoNCE, and its control InfoNCE, which differs only in having no noise.")
    run_plan(plan, InProcess(console, same_start=True), replace="all", keep_checkpoints=True)
    curves = {run.variant: plan.folder_of(run).metrics() for run in plan.runs}

    console.rule("Results")
    supervised = evaluate_retrieval(load_encoder(PACKAGED_MINILM), python_docs_task())
    console.print(_score_table(curves, supervised))
    trained = plan.folder_of(plan.runs[0])
    console.print(_answer_table(load_encoder(PACKAGED_MINILM, "cls"), load_encoder(trained.last)))
    learning_curves(
        curves,
        output / "curves.png",
        score_name="retrieval MRR x 100",
        reference=("its own mean pooling", supervised["MRR"]),
    )
    _print_next_steps(output, trained.best, console)


def _score_table(curves: Curves, supervised: Mapping[str, float]) -> Table:
    """Return the retrieval scores before training and after the last step, so that no step was selected by them."""
    scored = {label: [entry for entry in metrics if "eval_MRR" in entry] for label, metrics in curves.items()}
    rows = {"[CLS] before": next(iter(scored.values()))[0]}
    rows |= {f"[CLS] after {label}": entries[-1] for label, entries in reversed(scored.items())}
    rows["its own supervised mean pooling"] = {f"eval_{name}": value for name, value in supervised.items()}
    title, caption = "Which documentation belongs to this summary?", f"{len(python_docs_task().queries):,} pairs"
    table = FigureTable(["all-MiniLM-L6-v2 read at"], _METRICS, title, caption)
    for label, entry in rows.items():
        table.add_row(escape(label), *(f"{entry[f'eval_{name}']:.1f}" for name in _METRICS))
    return table


def _answer_table(before: SentenceTransformer, after: SentenceTransformer) -> Table:
    """Return the three nearest entries of the documentation to each question, before and after training."""
    docstrings = [docstring for docstring in iter_docstrings() if docstring.is_public]
    table = Table(title="Five questions, answered from the documentation: the three nearest", show_lines=True)
    for heading in ("question", "before", "after GS-InfoNCE"):
        table.add_column(heading, ratio=1, overflow="fold")
    answers = [answer(model, QUESTIONS, docstrings, k=3) for model in (before, after)]
    for question, *found in zip(QUESTIONS, *answers, strict=True):
        table.add_row(question, *("\n".join(escape(name) for name, _ in nearest) for nearest in found))
    return table


def _print_next_steps(output: Path, model: Path, console: Console) -> None:
    console.print(
        f"Learning curves: {output / 'curves.png'}\nModel: {model}\n\nNext, try\n"
        f'  smoothcse similarity {model} "open a file" "read a document from disk"\n'
        f"  smoothcse train my-sentences.txt --model {model} --output my-encoder",
        highlight=False,
        markup=False,
    )
