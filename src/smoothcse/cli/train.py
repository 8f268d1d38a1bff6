"""``smoothcse train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from smoothcse.cli.fields import config_options
from smoothcse.errors import SmoothCSEError


@config_options(positional="corpus")
def train(
    config: Annotated[Path | None, typer.Option(help="YAML file of the fields below.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Published settings by name; see `smoothcse list recipes`.")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of runs, one per seed; prints the mean ± standard deviation.")
    ] = 1,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Processes that share each batch. [all visible GPUs]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in the output folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the output folder.")] = False,
    **fields: Any,
) -> None:
    """Train an encoder on a text and select its best step.

    Fields come from a recipe, then a YAML file, then the flags; later ones win. The output folder contains `best` and
    `last`, two plain sentence-transformers models, and `run.json` and `metrics.jsonl`.

    Example: `smoothcse train sentences.txt --model bert-base-uncased --noise-share 0.4 --output my-encoder`
    """
    if resume and overwrite:
        raise SmoothCSEError("--resume and --overwrite contradict each other; give one of them.")
    from smoothcse.training import resolve_config

    resolved = resolve_config(recipe, config, fields)  # before the slow imports, so that a typo is reported at once

    from smoothcse._utils.quiet import quiet_libraries
    from smoothcse.experiments.seeds import train_seeds
    from smoothcse.training import train

    quiet_libraries()
    if seeds > 1:
        train_seeds(resolved, seeds, resume=resume, overwrite=overwrite, devices=devices)
    else:
        train(resolved, resume=resume, overwrite=overwrite, devices=devices)
