"""The command line: the function in ``smoothcse.cli.NAME`` is the command NAME.

``smoothcse --help`` reads only the table below. A command's module is imported when the command is used, and heavy
libraries only inside its function.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from smoothcse.errors import SmoothCSEError, did_you_mean, hand_over

_PANELS = {
    "Train": {
        "adapt": "Adapt an encoder to your documents, and learn whether it is better on them.",
        "demo": "Adapt an encoder to this machine's Python documentation and score it (about 6 minutes).",
        "train": "Train an encoder on your text and keep its best checkpoint.",
        "list": "List methods, recipes, published results or evaluation tasks, or show one of them.",
        "report": "Write one HTML page about one or several runs, or follow a run in the terminal.",
    },
    "Evaluate": {
        "evaluate": "Score models on STS, transfer, retrieval or geometry.",
        "study": "Compare variants of a configuration over several seeds, with confidence intervals.",
        "reproduce": "Train a published recipe and its control over several seeds, and compare with the paper.",
    },
    "Use": {
        "encode": "Encode each record of a file.",
        "similarity": "Print the cosine similarity of two sentences.",
        "index": "Index documents for semantic search.",
        "search": "Search an index.",
        "serve": "Serve embeddings, similarities and search over HTTP.",
        "export": "Export a model to ONNX, OpenVINO or safetensors, and verify the result.",
        "push": "Upload a model and its card to the Hugging Face Hub.",
    },
}
"""Panels of ``smoothcse --help``: name and first sentence of the help of each command."""

COMMANDS = {name: about for panel in _PANELS.values() for name, about in panel.items()}

_RENAMED = {
    "methods": "smoothcse list methods",
    "recipes": "smoothcse list recipes",
    "published": "smoothcse list published",
    "watch": "smoothcse report --follow RUN",
}
"""Commands of earlier versions, and what replaces them."""

_FUNCTIONS = {"list": "list_"}
"""Functions whose name differs from their command's, because the command's name is a builtin."""


class _Commands(TyperGroup):
    """A group of commands whose modules are imported on use, so that listing the commands is instant."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if self._listing:
            panel = next(name for name, commands in _PANELS.items() if cmd_name in commands)
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name], rich_help_panel=panel)
        module = importlib.import_module(f"smoothcse.cli.{cmd_name}")
        command = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        command.command(cmd_name)(getattr(module, _FUNCTIONS.get(cmd_name, cmd_name)))
        return typer.main.get_command(command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is called, or suggest the one that was probably meant."""
        name = args[0]
        if name in _RENAMED:
            raise SmoothCSEError(f"The command {name!r} has been renamed: use `{_RENAMED[name]}`.")
        if name not in COMMANDS and not name.startswith("-"):
            raise SmoothCSEError(
                f"There is no command {name!r}.{did_you_mean(name, COMMANDS)} `smoothcse --help` lists them all."
            )
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self._listing = True
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=_Commands,
    help="Train text encoders on plain text, without labels (GS-InfoNCE, SimCSE and related methods).",
    epilog="Start with: smoothcse train my-sentences.txt --model bert-base-uncased --output my-encoder",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line; a user's mistake prints one sentence on standard error and exits with code 2."""
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app(args=arguments, prog_name="smoothcse")
    except SmoothCSEError as error:
        if debug:
            raise
        if not hand_over(error):
            typer.echo(f"smoothcse: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("smoothcse: interrupted", err=True)
        sys.exit(130)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")] = False,
) -> None:
    if version:
        from smoothcse import __version__

        typer.echo(f"smoothcse {__version__}")
        raise typer.Exit
