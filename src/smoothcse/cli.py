"""The command line: typed functions become commands. Everything heavy is imported inside them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from smoothcse.cli_fields import config_options
from smoothcse.errors import SmoothCSEError

app = typer.Typer(
    help="Learn sentence embeddings from plain text, without labels (GS-InfoNCE, SimCSE).",
    epilog="Start with: smoothcse train my-sentences.txt --model bert-base-uncased --output my-encoder",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

ModelArgument = Annotated[str, typer.Argument(help="A run folder, a model folder, or a hub name.", show_default=False)]
PoolingOption = Annotated[
    str | None, typer.Option(help="Read the model by cls, mean, max, avg_first_last or avg_top2 instead.")
]


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


@app.command()
@config_options(positional="corpus")
def train(
    config: Annotated[Path | None, typer.Option(help="YAML file of the settings below.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Published settings by name; see `smoothcse recipes`.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Train this many runs, seed after seed, and print mean ± sd.")] = 1,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Processes that share each batch. [all visible GPUs]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the output folder.")] = False,
    **fields: Any,
) -> None:
    """Train an encoder on a text and keep its best step.

    Settings come from a recipe, then a YAML file, then the flags; later ones win. The output folder holds `best` and
    `last`, two plain sentence-transformers models, with `run.json` and `metrics.jsonl` beside them.
    """
    from smoothcse.training import resolve_config

    resolved = resolve_config(recipe, config, fields)  # before the slow imports: a typing error is told at once

    from smoothcse.quiet import quiet_libraries
    from smoothcse.training import train, train_seeds

    quiet_libraries()
    if seeds > 1:
        train_seeds(resolved, seeds, resume=resume, overwrite=overwrite, devices=devices)
    else:
        train(resolved, resume=resume, overwrite=overwrite, devices=devices)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe as YAML.", show_default=False)] = None,
) -> None:
    """List the published settings, or print one as a YAML file to start from."""
    import yaml
    from rich.console import Console
    from rich.table import Table

    from smoothcse.training.recipes import recipe_fields
    from smoothcse.training.recipes import recipes as all_recipes

    if name:
        typer.echo(yaml.safe_dump(recipe_fields(name), sort_keys=False), nl=False)
        return
    table = Table(title="smoothcse train --recipe NAME")
    for heading in ("recipe", "batch", "lr", "dropout", "M", "what it is"):
        table.add_column(heading, overflow="fold")
    for recipe in all_recipes().values():
        fields = recipe.fields
        row = (fields["batch_size"], fields["learning_rate"], fields["dropout"], fields["noise_count"])
        table.add_row(recipe.name, *map(str, row), recipe.about)
    Console().print(table)


@app.command()
def encode(
    model: ModelArgument,
    texts: Annotated[
        Path, typer.Argument(help="A text file, one sentence a line (.gz, .zst), or - for standard input.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to: a .npy or .parquet file.")],
    pooling: PoolingOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sentences per forward.")] = 64,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale each embedding to length 1.")] = False,
) -> None:
    """Turn each line of a text into an embedding, at constant memory."""
    from smoothcse.bulk import encode_file
    from smoothcse.encoder import load_encoder
    from smoothcse.quiet import quiet_libraries

    quiet_libraries()
    encoder = load_encoder(model, pooling)  # type: ignore[arg-type]
    encode_file(encoder, texts, output, batch_size=batch_size, precision=precision, normalize=normalize)  # type: ignore[arg-type]


@app.command()
def similarity(
    model: ModelArgument,
    first: Annotated[str, typer.Argument(help="A sentence.")],
    second: Annotated[str, typer.Argument(help="Another one.")],
    pooling: PoolingOption = None,
) -> None:
    """Print the cosine similarity of two sentences."""
    from smoothcse.encoder import load_encoder
    from smoothcse.encoding import encode
    from smoothcse.quiet import quiet_libraries

    quiet_libraries()
    a, b = encode(load_encoder(model, pooling), [first, second], normalize=True)  # type: ignore[arg-type]
    typer.echo(f"{float(a @ b):.4f}")


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for the two runs, the picture and the table.")] = Path("demo"),
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each run.")] = 60,
) -> None:
    """Train on this machine's Python documentation for about two minutes, and see what it was good for."""
    from smoothcse.demo import run_demo
    from smoothcse.quiet import quiet_libraries

    quiet_libraries()
    run_demo(output, steps)
