"""The command line: the function ``smoothcse.cli.NAME.NAME`` is the command NAME.

The table below is all that ``smoothcse --help`` reads; a command's module is imported when the command is used, and
everything heavy inside its function.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from smoothcse.errors import SmoothCSEError, did_you_mean, hand_over

COMMANDS = {
    "train": "Train an encoder on a text and keep its best step.",
    "methods": "List what can be learned by, or explain one method and its settings.",
    "recipes": "List the published settings, or print one as a YAML file to start from.",
    "encode": "Turn each record of a file into an embedding, at constant memory.",
    "similarity": "Print the cosine similarity of two sentences.",
    "index": "Index documents for search by meaning; a run that is cut off goes on where it was.",
    "search": "Find the documents of an index that are nearest to a query.",
    "serve": "Serve embeddings, similarities and search over HTTP, as OpenAI's API has it.",
    "evaluate": "Score models on STS, transfer, retrieval or geometry, published figures beside them on request.",
    "published": "Print the published figures of GS-InfoNCE and its neighbours, with their sources.",
    "study": "Compare variants of a configuration over seeds, with intervals; a finished run is never repeated.",
    "reproduce": "Train a published recipe and its control over seeds and compare with the published table.",
    "report": "Write one HTML page about a run, or several side by side.",
    "watch": "Show the curves of a run in the terminal, live until it has finished.",
    "export": "Write a model as ONNX, OpenVINO or safetensors, checked against the original.",
    "push": "Upload a model and its card to the Hugging Face hub, without what training left behind.",
    "demo": "Train on the documentation of this machine's Python and print the scores (about 8 minutes on two cores).",
}
"""Name and first sentence of the help of each command."""


class _Commands(TyperGroup):
    """Reads a command's module only when the command is used, so that the list of commands is instant."""

    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if self._listing:
            return TyperCommand(cmd_name, help=COMMANDS[cmd_name])
        module = importlib.import_module(f"smoothcse.cli.{cmd_name}")
        command = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
        command.command(cmd_name)(getattr(module, cmd_name))
        return typer.main.get_command(command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is called, or say which one may have been meant."""
        name = args[0]
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
        if not hand_over(error):
            typer.echo(f"smoothcse: {error}", err=True)
        sys.exit(error.exit_code)
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
