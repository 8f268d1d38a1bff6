"""The README's commands and code run as they stand, with a tiny model and a tiny text under the names used there."""

from __future__ import annotations

import re
import shlex

import pytest

from commands import run_here
from repository import REPOSITORY
from tiny import save_tiny_model, sentences

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    save_tiny_model(tmp_path / "bert-base-uncased")
    (tmp_path / "my-sentences.txt").write_text("\n".join(sentences(70)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SMOOTHCSE_CPU", "1")


@pytest.mark.usefixtures("workplace")
def test_commands(capsys):
    commands = re.findall(r"^smoothcse ((?:train|similarity) .*)$", README, flags=re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert run_here(*shlex.split(command)) == 0
        printed = capsys.readouterr().out
    assert -1 <= float(printed) <= 1


@pytest.mark.usefixtures("workplace")
def test_python_block(capsys):
    [code] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(code, {})
    assert "last step" in capsys.readouterr().out


def test_files_that_it_points_to_exist():
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert targets
    assert not [target for target in targets if not (REPOSITORY / target).exists()]
