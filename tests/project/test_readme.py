"""The README's commands and code run as they stand, with a tiny model and a tiny text under the names used there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from repository import REPOSITORY
from tiny import save_tiny_model, sentences

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def workplace(tmp_path):
    save_tiny_model(tmp_path / "bert-base-uncased")
    (tmp_path / "my-sentences.txt").write_text("\n".join(sentences(70)), encoding="utf-8")
    return tmp_path


def run(arguments, folder):
    environment = {**os.environ, "SMOOTHCSE_CPU": "1"}
    result = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=240, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_commands(workplace):
    commands = re.findall(r"^(smoothcse (?:train|similarity) .*)$", README, flags=re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        printed = run([sys.executable, "-m", *shlex.split(command)], workplace)
    assert -1 <= float(printed) <= 1


def test_python_block(workplace):
    [code] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert "last step" in run([sys.executable, "-c", code], workplace)


def test_files_that_it_points_to_exist():
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert targets
    assert not [target for target in targets if not (REPOSITORY / target).exists()]
