"""The demo: adapt all-MiniLM-L6-v2 to the documentation of the installed Python, and search it before and after.

Both runs start from the encoder's own pooling and learn from the documents alone. The labelled queries score the start
and the last step of each run; they select nothing. ``smoothcse adapt`` does the same for any documents, with a search
among training settings and a verdict without labels. The setting of the paper, [CLS] pooling with dropout and noise,
is one command::

    smoothcse train python-docs --model packaged-minilm --pooling cls --output gs-infonce
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sentence_transformers import SentenceTransformer

from smoothcse._utils.atomic import explain_unwritable, write_text_atomic
from smoothcse.corpus.documents import load_documents
from smoothcse.corpus.python_docs import iter_docstrings
from smoothcse.corpus.sources import PYTHON_DOCS
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.packaged import PACKAGED_MINILM
from smoothcse.evaluation.answers import answer
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.retrieval import Rankings, compare_with_bm25, python_docs_task
from smoothcse.experiments.adapt.candidates import CANDIDATES, fields_of
from smoothcse.experiments.adapt.material import MOST_TOKENS
from smoothcse.experiments.demo_scores import ADAPTED, CONTROL, START, DemoScores
from smoothcse.experiments.in_process import InProcess
from smoothcse.experiments.planned_runs import Plan, PlannedRun
from smoothcse.experiments.runner import run_plan
from smoothcse.runs.config import TrainConfig
from smoothcse.training.selection import DEV_SCORE, Criterion
from smoothcse.views.choice import DROPOUT

STEPS = 70
"""Training steps of each run: about 80 seconds on two cores with bf16."""

QUESTIONS = (
    "how do I pause a program",
    "remove white space from both ends of a text",
    "find the largest of several numbers",
    "download a web page",
    "run another program and read what it prints",
)


def plan_demo(output: Path, steps: int) -> Plan:
    """Return the two runs of the demo: the first candidate of an adaptation, and plain SimCSE as its control."""
    config = TrainConfig(
        **fields_of(CANDIDATES[0]),
        corpus=str(_text_file(output)),
        column="text",
        model=PACKAGED_MINILM,
        max_length=MOST_TOKENS,
        max_steps=steps,
        eval_steps=steps,
    )
    control = config.replace(views=DROPOUT)
    return Plan([PlannedRun(CONTROL, CONTROL, control), PlannedRun(ADAPTED, ADAPTED, config)], output)


def run_demo(output: Path, steps: int = STEPS, console: Console | None = None) -> None:
    """Adapt the packaged MiniLM to ``python-docs`` and print the results.

    Args:
        output: Folder for the documents, the runs ``control`` and ``adapted``, and ``scores.png``. An earlier demo in
            it is replaced.
        steps: Training steps of each run.
        console: Console for progress and results; None for standard output.

    Raises:
        SmoothCSEError: If the extra ``demo`` is not installed, the folder cannot be written, or the folder of a run
            has other content.
    """
    console = console or Console()
    plan = plan_demo(output, steps)
    with explain_unwritable(output, "give another --output"):
        output.mkdir(parents=True, exist_ok=True)
    console.print(f"Two runs of {steps} steps learn from the documents; labelled queries then score them.")
    start = load_encoder(PACKAGED_MINILM)
    with _timed(console, "reading the documents"):
        _write_documents(start, output)
    _train(plan, console)
    with _timed(console, "scoring"):
        models = {START: start, **{run.name: load_encoder(plan.folder_of(run).last) for run in plan.runs}}
        scores = _score(models)
    with _timed(console, "answering five questions"):
        answers = _answer_table(start, models[ADAPTED])
    scores.plot(output / "scores.png")

    console.rule("Results")
    console.print(scores.table())
    console.print(f"{scores.verdict()}\n", style="bold", markup=False, highlight=False)
    console.print(answers)
    _print_next_steps(output, plan.folder_of(plan.runs[-1]).last, console)


@contextmanager
def _timed(console: Console, activity: str) -> Iterator[None]:
    """Show an activity, and print its duration at its end."""
    started = time.perf_counter()
    with console.status(activity):
        yield
    console.print(f"{activity}: {time.perf_counter() - started:.0f} s", highlight=False)


def _text_file(output: Path) -> Path:
    return output / f"{PYTHON_DOCS}.jsonl"


def _write_documents(start: SentenceTransformer, output: Path) -> None:
    """Write the passages to train on: the documents of the labelled task, and not its queries."""
    passages = load_documents(PYTHON_DOCS, tokenizer=start.tokenizer).dataset["text"][:]
    write_text_atomic(_text_file(output), "".join(json.dumps({"text": text}) + "\n" for text in passages))


def _train(plan: Plan, console: Console) -> None:
    # Nothing selects a step, so that none is scored during training.
    unscored = Criterion("none", lambda model: {DEV_SCORE: 0.0})
    workers = InProcess(Console(quiet=True), criterion=unscored, start_metrics={DEV_SCORE: 0.0})
    for run in plan.runs:
        with _timed(console, f"training {run.name}, {run.config.max_steps} steps"):
            run_plan(replace(plan, due=[run]), workers, replace="all")
        shutil.rmtree(plan.folder_of(run).best)  # the start; the model is `last`


def _score(models: dict[str, SentenceTransformer]) -> DemoScores:
    task = python_docs_task()
    bm25 = BM25(task.documents)

    def ranked(model: SentenceTransformer) -> Rankings:
        return compare_with_bm25(model, task, bm25, precision="auto")

    return DemoScores({name: ranked(model) for name, model in models.items()})


def _answer_table(before: SentenceTransformer, after: SentenceTransformer) -> Table:
    """Return the three nearest entries of the documentation to each question, before and after training."""
    docstrings = [docstring for docstring in iter_docstrings() if docstring.is_public]
    table = Table(title="Five questions, answered from the documentation: the three nearest", show_lines=True)
    for heading in ("question", "before", "after"):
        table.add_column(heading, ratio=1, overflow="fold")
    answers = [answer(model, QUESTIONS, docstrings, k=3, precision="auto") for model in (before, after)]
    for question, *found in zip(QUESTIONS, *answers, strict=True):
        table.add_row(question, *("\n".join(escape(name) for name, _ in nearest) for nearest in found))
    return table


def _print_next_steps(output: Path, model: Path, console: Console) -> None:
    console.print(
        f"Chart: {output / 'scores.png'}\nModel: {model}\n\nNext, try\n"
        f'  smoothcse similarity {model} "open a file" "read a document from disk"\n'
        f"  smoothcse adapt my-docs/ --model {PACKAGED_MINILM} -o my-encoder\n"
        f"  smoothcse adapt {PYTHON_DOCS} --model {PACKAGED_MINILM} -o all-candidates\n"
        "The setting of the paper, with [CLS] pooling and Gaussian noise:\n"
        f"  smoothcse train {PYTHON_DOCS} --model {PACKAGED_MINILM} --pooling cls --output gs-infonce",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
