"""``smoothcse reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    recipe: Annotated[str, typer.Argument(help="E.g. gs-infonce/bert-base-uncased; see `smoothcse list recipes`.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of the recipe, and as many of its control.")] = 5,
    output: Annotated[Path | None, typer.Option(help="Folder for runs and results. [reproduce/RECIPE]")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what it will take and stop.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Keep finished runs, go on with the one cut off.")] = False,
    data: Annotated[
        str, typer.Option(help="Dev set and tasks: a folder in SentEval's layout, or hub[@COMMIT].")
    ] = "hub",
    model: Annotated[str | None, typer.Option(help="Start from this instead.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Learn from this instead.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Stop each run after so many steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sentences per step instead of the recipe's.")] = None,
    eval_steps: Annotated[int | None, typer.Option(help="Steps between dev evaluations.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16 (needs CUDA).")] = None,
) -> None:
    """Train a published recipe and its control over seeds and compare with the published table.

    Of each run the model with the best STS-B dev score is tested, as the authors did. Results go to `reproduce.json`
    and `reproduce.md`. Settings that differ from the recipe's are named in the verdict.
    """
    from smoothcse.runs.recipes import recipe_fields

    recipe_fields(recipe)  # before the slow imports: a typing error is told at once

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
