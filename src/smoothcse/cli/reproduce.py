"""``smoothcse reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    recipe: Annotated[str, typer.Argument(help="Name of the recipe; see `smoothcse list recipes`.")],
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs of the recipe, and of its control.")] = 5,
    output: Annotated[Path | None, typer.Option(help="Folder for runs and results. [reproduce/RECIPE]")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print what will be downloaded and needed, and stop.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep finished runs; resume an interrupted one.")] = False,
    data: Annotated[
        str, typer.Option(help="Dev set and tasks: a folder in SentEval's layout, or hub[@COMMIT].")
    ] = "hub",
    model: Annotated[str | None, typer.Option(help="Encoder to start from, instead of the recipe's.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Text to train on, instead of the recipe's.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Training steps of each run.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sentences per step, instead of the recipe's.")] = None,
    eval_steps: Annotated[int | None, typer.Option(help="Steps between dev evaluations.")] = None,
    precision: Annotated[str | None, typer.Option(help="Precision: auto, fp32, bf16 or fp16 (CUDA only).")] = None,
) -> None:
    """Train a published recipe and its control over seeds and compare with the published table.

    The model with the best STS-B dev score of each run is tested, as in the paper. Results are written to
    `reproduce.json` and `reproduce.md`. The verdict names settings that differ from the recipe's.

    Example: `smoothcse reproduce gs-infonce/bert-base-uncased --seeds 3 --plan`
    """
    from smoothcse.runs.recipes import recipe_fields

    recipe_fields(recipe)  # before the slow imports, so that a typo is reported at once

    from rich.console import Console

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.experiments.forecast import plan_table
    from smoothcse.experiments.reproduce import reproduce
    from smoothcse.experiments.reproduction import plan_reproduction

    quiet_libraries()
    given = {
        "model": model,
        "corpus": corpus,
        "max_steps": max_steps,
        "batch_size": batch_size,
        "eval_steps": eval_steps,
        "precision": precision,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    wanted = plan_reproduction(recipe, seeds=seeds, output=output, data=data, changes=changes)
    Console(stderr=not plan).print(plan_table(wanted))
    if plan:
        return
    outcome = reproduce(wanted, resume=resume)
    Console().print(outcome.table())
    typer.echo(f"{outcome.verdict()}\nWritten to {wanted.output}.")
