"""The demo: a position that was never trained as a sentence vector becomes one, in two minutes on two cores.

It reads the real all-MiniLM-L6-v2 at [CLS] (its own training used mean pooling) and trains on the documentation of the
Python that is running. Everything it prints is measured in front of the user.
"""

from __future__ import annotations

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
from smoothcse.evaluation.retrieval import answer, evaluate_retrieval, python_docs_task
from smoothcse.runs.config import make_config
from smoothcse.runs.curves import learning_curves
from smoothcse.runs.folder import RunFolder
from smoothcse.training.run import train
from smoothcse.training.selection import DEV_SCORE

QUESTIONS = (
    "how do I pause a program",
    "remove white space from both ends of a text",
    "find the largest of several numbers",
    "download a web page",
    "run another program and read what it prints",
)


_METRICS = ("MRR", "R@1", "R@10")


def run_demo(output: Path, steps: int = 60, console: Console | None = None) -> None:
    """Train GS-InfoNCE and its control on ``python-docs`` and print what came of it.

    Args:
        output: folder for the two runs (``gs-infonce`` and ``infonce``), ``curves.png``; an earlier demo there is
            replaced.
        steps: of each run.
        console: where the results are printed; None for standard output.

    Raises:
        SmoothCSEError: if the extra ``demo`` is not installed, or the folder holds something else.
    """
    console = console or Console()
    config = make_config(
        {
            "corpus": "python-docs",
            "model": PACKAGED_MINILM,
            "pooling": "cls",
            "max_steps": steps,
            "eval_steps": max(1, steps // 2),
            "output": str(output / "gs-infonce"),
        }
    )
    control = config.replace(output=str(output / "infonce"), noise_count=0)
    console.rule("1 of 2: GS-InfoNCE")
    result = train(config, overwrite=True, console=console)
    console.rule("2 of 2: InfoNCE, the control: everything the same, without noise")
    metrics = RunFolder(result.folder).metrics()
    control_result = train(control, overwrite=True, start_metrics=_scores_of(metrics[0]), console=console)
    curves = {"GS-InfoNCE": metrics, "InfoNCE, the control": RunFolder(control_result.folder).metrics()}

    console.rule("What it was good for")
    yardstick = evaluate_retrieval(load_encoder(PACKAGED_MINILM), python_docs_task())
    table = _score_table(curves, yardstick)
    console.print(table)
    _answer(load_encoder(PACKAGED_MINILM, "cls"), load_encoder(result.last), console)
    learning_curves(
        curves,
        output / "curves.png",
        score_name="retrieval MRR x 100",
        reference=("its own mean pooling", yardstick["MRR"]),
    )
    _say_what_next(output, console)


def _scores_of(entry: dict[str, Any]) -> dict[str, float]:
    return {name: entry[f"eval_{name}"] for name in (DEV_SCORE, *_METRICS)}


def _score_table(curves: dict[str, list[dict[str, Any]]], yardstick: dict[str, float]) -> Table:
    """Return the retrieval scores before and after; "after" is the last step, so nothing was selected on them."""
    scored = {label: [entry for entry in metrics if "eval_MRR" in entry] for label, metrics in curves.items()}
    rows = {"[CLS] before": next(iter(scored.values()))[0]}
    rows |= {f"[CLS] after {label}": entries[-1] for label, entries in reversed(scored.items())}
    rows["its own supervised mean pooling"] = {f"eval_{name}": value for name, value in yardstick.items()}
    title, caption = "Which documentation belongs to this summary?", f"{len(python_docs_task().queries):,} pairs"
    table = FigureTable(["all-MiniLM-L6-v2 read at"], _METRICS, title, caption)
    for label, entry in rows.items():
        table.add_row(escape(label), *(f"{entry[f'eval_{name}']:.1f}" for name in _METRICS))
    return table


def _answer(before: SentenceTransformer, after: SentenceTransformer, console: Console) -> None:
    docstrings = [docstring for docstring in iter_docstrings() if docstring.is_public]
    table = Table(title="Five questions, answered from the documentation: the three nearest", show_lines=True)
    for heading in ("question", "before", "after GS-InfoNCE"):
        table.add_column(heading, ratio=1, overflow="fold")
    answers = [answer(model, QUESTIONS, docstrings, k=3) for model in (before, after)]
    for question, *found in zip(QUESTIONS, *answers, strict=True):
        table.add_row(question, *("\n".join(escape(name) for name, _ in nearest) for nearest in found))
    console.print(table)


def _say_what_next(output: Path, console: Console) -> None:
    model = output / "gs-infonce" / "best"
    console.print(
        f"Learning curves: {output / 'curves.png'}\nModel: {model}\n\nNext, try\n"
        f'  smoothcse similarity {model} "open a file" "read a document from disk"\n'
        f"  smoothcse train my-sentences.txt --model {model} --output my-encoder",
        highlight=False,
        markup=False,
    )
