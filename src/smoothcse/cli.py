"""The command line: typed functions become commands. Everything heavy is imported inside them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from smoothcse.errors import SmoothCSEError

app = typer.Typer(
    name="smoothcse",
    help="Learn sentence embeddings from plain text, without labels (GS-InfoNCE, SimCSE).",
    epilog="Start with: smoothcse train my-sentences.txt --model bert-base-uncased --output my-encoder",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; a user's mistake ends in one sentence on standard error and exit code 2."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app(args=arguments, prog_name="smoothcse")
    except SmoothCSEError as error:
        if debug:
            raise
        typer.echo(f"smoothcse: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("smoothcse: interrupted", err=True)
        sys.exit(130)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        from smoothcse import __version__

        typer.echo(f"smoothcse {__version__}")
        raise typer.Exit


def _train(
    *,
    corpus: str | None = None,
    config: Path | None = None,
    recipe: str | None = None,
    seeds: int = 1,
    devices: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **fields: Any,
) -> None:
    """Train an encoder on a text and keep its best step.

    CORPUS is a file of sentences (.txt, .jsonl, .csv, .tsv, .parquet), a folder of these, a hub dataset, `wiki1m`,
    or `python-docs` (the default: the documentation of this machine's Python).

    Settings come from a recipe, then a YAML file, then the flags; later ones win.
    """
    from smoothcse.quiet import quiet_libraries
    from smoothcse.training import resolve_config, train
    from smoothcse.training.seeds import train_seeds

    quiet_libraries()
    given = {name: value for name, value in {"corpus": corpus, **fields}.items() if value is not None}
    resolved = resolve_config(recipe, config, given)
    if seeds > 1:
        train_seeds(resolved, seeds, resume=resume, overwrite=overwrite, devices=devices)
    else:
        train(resolved, resume=resume, overwrite=overwrite, devices=devices)
