"""One name, one thing: no two classes and no two modules of the package share a name without a reason."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import smoothcse
from smoothcse.cli import COMMANDS

ROOT = Path(smoothcse.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# Modules and classes that share their name for a reason that no rule below covers.
JUSTIFIED = {
    "geometry": "objectives/ has the formulas, evaluation/ measures a model by them",
    "load": "corpus/ loads a corpus, encoders/ loads an encoder: the room is part of the name",
    "templates": "objectives/ has the templates' arithmetic, encoders/ the modules that read them",
    "cache": "_utils/ finds the cache folder, corpus/ keeps corpora in it",
    "freed_memory": "the callback in training/ calls the function in _utils/",
    "SimCSE": "methods/ has the settings of the method, search/ the tool of the original package",
    "records": "corpus/ reads records of files, experiments/ keeps records of runs",
}


def repeated(names: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: places for name, places in names.items() if len(places) > 1}


def is_method_and_formula(rooms: list[str]) -> bool:
    """Whether the modules are a training method and its published formula."""
    return sorted(rooms) == ["methods", "objectives"]


def is_command(name: str, rooms: list[str]) -> bool:
    """Whether the modules are a command and the one function behind it."""
    return name in COMMANDS and "cli" in rooms and len(rooms) == 2


def test_no_two_classes_share_a_name():
    found = defaultdict(list)
    for file in FILES:
        for name in re.findall(r"^class ([A-Za-z]\w*)", file.read_text(encoding="utf-8"), flags=re.MULTILINE):
            found[name].append(str(file.relative_to(ROOT)))
    assert {name: places for name, places in repeated(found).items() if name not in JUSTIFIED} == {}


def test_modules_share_a_name_only_for_a_reason():
    found = defaultdict(list)
    for file in FILES:
        if not file.stem.startswith("__"):
            found[file.stem].append(file.parent.relative_to(ROOT).as_posix())
    unexplained = {
        name: rooms
        for name, rooms in repeated(found).items()
        if name not in JUSTIFIED and not is_method_and_formula(rooms) and not is_command(name, rooms)
    }
    assert unexplained == {}
