"""Options, commands and fields that messages and help texts name exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

import smoothcse
from smoothcse import cli
from smoothcse.methods.table import METHODS, find_method
from smoothcse.training import TrainConfig

ROOT = Path(smoothcse.__file__).parent
FILES = [str(file.relative_to(ROOT)) for file in sorted(ROOT.rglob("*.py"))]
GROUP = typer.main.get_command(cli.app)
OF_COMMAND = {
    name: {option for one in GROUP.get_command(None, name).params for option in (*one.opts, *one.secondary_opts)}
    for name in cli.COMMANDS
}
OPTIONS = {"--help", "--debug", "--version"}.union(*OF_COMMAND.values())
FIELDS = (
    {field.name for field in fields(TrainConfig)}
    | {field.name for method in METHODS for field in fields(find_method(method).settings)}
    | {option.strip("-").replace("-", "_") for option in OPTIONS}
)
# Other words with an underscore: parameters and functions of Python, which Python callers alone are told of.
OTHERS = {
    "avg_first_last",
    "avg_top2",
    "build_index",
    "check_embedding_ctx_length",  # LangChain
    "en_core_web_sm",
    "get_document",  # a tool of the MCP server
    "help_option_names",
    "max_chars",
    "max_tokens",
    "min_chars",
    "min_tokens",
    "mini_batch_tokens",
    "near_duplicates",
    "pad_token",
    "report_to",
    "save_pretrained",
    "use_fast",
}


def told(file: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of what errors, warnings and help texts of a module say, without what they insert."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and _name(node.func) in SPEAKERS:
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value


SPEAKERS = {"SmoothCSEError", "Stopped", "Refusal", "warn", "Option", "Argument", "Typer", "Field", "echo"}


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_messages_to_check_are_found():
    assert sum(len(list(told(file))) for file in FILES) > 300
    assert "--learning-rate" in OF_COMMAND["train"]


@pytest.mark.parametrize("file", [file for file in FILES if list(told(file))])
def test_names_in_messages_exist(file):
    path = Path(file)
    own = OF_COMMAND.get(path.stem, OPTIONS) if path.parent.name == "cli" else OPTIONS
    for line, text in told(file):
        where = f"{file}:{line}: {text}"
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]", text)) <= own | {"--help"}, where
        assert set(re.findall(r"`?\bsmoothcse ([a-z]+)\b", text)) <= set(cli.COMMANDS), where
        assert set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text)) <= FIELDS | OTHERS, where
