"""``metrics.jsonl``: one line per log entry and evaluation of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.json_files import parse_object, read_text
from smoothcse.errors import SmoothCSEError

_WHAT = "the metrics of a run"


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Return the entries of a ``metrics.jsonl``, without an incomplete last line; empty if there is no file.

    Raises:
        SmoothCSEError: If a line is not an entry; the message names the line.
    """
    if not file.is_file():
        return []
    lines = read_text(file, _WHAT).split("\n")
    return [_entry(f"{file}:{number}", line) for number, line in enumerate(lines[:-1], 1) if line]


def append_metrics(file: Path, entry: Mapping[str, Any]) -> None:
    """Append one line to a ``metrics.jsonl``."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(_line(entry))


def replace_metrics(file: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Replace all lines of a ``metrics.jsonl``."""
    write_text_atomic(file, "".join(map(_line, entries)))


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry) + "\n"


def _entry(place: str, line: str) -> dict[str, Any]:
    """Parse a line: an object with a whole ``step``, whose ``eval_`` values are numbers."""
    entry = parse_object(place, line, _WHAT)
    step = entry.get("step")
    if type(step) is not int or step < 0:
        raise SmoothCSEError(f"{place} cannot be read as {_WHAT}: its step is {step!r}.")
    wrong = next((name for name, value in entry.items() if name.startswith("eval_") and not _is_number(value)), None)
    if wrong:
        raise SmoothCSEError(f"{place} cannot be read as {_WHAT}: {wrong} is {entry[wrong]!r}.")
    return entry


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**53)
