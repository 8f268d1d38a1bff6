"""What an adaptation prints at its end fits a terminal, and its commands can be given as they stand."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pytest
import typer.main
from rich.console import Console

from adaptation_records import adapted, untried, verdict
from smoothcse import cli
from smoothcse.experiments.adapt.next_commands import next_steps
from smoothcse.experiments.adapt.show import print_result
from smoothcse.experiments.adapt.verdict import ChangedDocument


def printed(record, folder="my-encoder") -> str:
    console = Console(file=io.StringIO(), width=80)
    print_result(record, Path(folder), console)
    return console.file.getvalue()


def test_it_fits_80_columns_except_for_the_commands():
    long = [ChangedDocument("[bold]why " * 50, "text", 1234567, 1)]
    text = printed(adapted(verdict(risen=long, queries=1_234_567)))
    lines = [line for line in text.splitlines() if not line.startswith("  smoothcse")]
    assert max(map(len, lines)) <= 80
    assert "[bold]why [bold]why" in text
    assert re.search(r"meaning .*39\.3 +43\.4 +\+4\.10 \[\+2\.05, \+6\.21\]", text)
    assert re.search(r"both .*44\.7 +45\.5 +\+0\.80 \[-0\.31, \+1\.92\]", text)


def test_without_verdict_it_still_says_what_to_do():
    text = printed(untried())
    assert "Keep your model" in text
    assert "smoothcse index my-encoder/model my-encoder " in text


@pytest.mark.parametrize("folder", ["my-encoder", ".", "a b/it's"])
def test_the_commands_can_be_given(folder):
    record = adapted(request={**adapted().request, "documents": "my docs/", "column": "body"})
    steps = next_steps(record, Path(folder))
    lines = [command for step in steps for command in step.commands]
    assert len(lines) == 5
    group = typer.main.get_command(cli.app)
    for line in lines:
        smoothcse, name, *arguments = shlex.split(line)
        assert smoothcse == "smoothcse"
        command = group.get_command(None, name)
        command.make_context(name, arguments)  # fails for unknown options and missing arguments
    index = shlex.split(lines[0])
    assert index[2:4] == [
        str(Path(folder) / "model"),
        str(Path(folder).parent / (Path(folder).name or Path.cwd().name)),
    ]


def test_both_indexes_are_compared_in_the_order_of_the_models():
    compare = next_steps(adapted(), Path("out"))[-1]
    index, serve = map(shlex.split, compare.commands)
    assert index == ["smoothcse", "index", "packaged-minilm", "out", "--output", "out-start.index"]
    assert serve[2:] == ["packaged-minilm", "out/model", "--index", "out-start.index", "--index", "out.index"]
