"""``smoothcse study``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smoothcse.errors import SmoothCSEError


def study(
    file: Annotated[Path, typer.Argument(help="YAML file of the study: base, variants, seeds, tests.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for runs.jsonl, tables and plots. [folder of the file]")
    ] = None,
    runs: Annotated[Path | None, typer.Option(help="Folder for run folders, with their models. [OUTPUT/runs]")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time. [one per visible GPU]")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Run only this variant now; repeatable.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Run only this seed now; repeatable.")] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option(help="Add records from this runs.jsonl or folder, without training; repeatable."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="List the runs and stop.")] = False,
) -> None:
    """Compare variants of a configuration over seeds, with confidence intervals.

    A finished run is never repeated, so a study can be stopped at any time and started again.

    Example: `smoothcse study noise.yaml --output results --jobs 2`
    """
    from smoothcse.experiments.study import read_study

    if merge and (plan or only or seed or jobs or runs):
        raise SmoothCSEError("--merge adds all records and trains nothing; leave out the other options but --output.")
    checked = read_study(file)
    if plan:
        for run in checked.runs(only, seed):
            typer.echo(run.name)
        return

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.experiments.run_study import merge_study, run_study
    from smoothcse.experiments.subprocesses import Subprocesses

    quiet_libraries()
    if merge:
        merge_study(checked, output or file.parent, merge)
        return
    workers = Subprocesses(jobs)
    run_study(checked, output or file.parent, runs_folder=runs, only=only, seeds=seed, workers=workers)
