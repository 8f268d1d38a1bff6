"""Layout of the output folder of an adaptation.

::

    model/          the encoder to use: adapted, or the start if adapting did not help
    adapt.json      everything that was measured
    report.html     the same as a page
    request.json    the arguments, which a continued adaptation must share
    text.jsonl      the passages that may be trained on
    rounds.json     the planned rounds
    trials.jsonl    one line per trained candidate
    runs/           the run folders of the candidates; only the best one keeps its model
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.folder_lock import LOCK_FILES
from smoothcse._utils.json_files import read_object
from smoothcse.errors import SmoothCSEError

MODEL, RUNS, LAST = "model", "runs", "last"
RECORD, REPORT, REQUEST = "adapt.json", "report.html", "request.json"
TEXT, ROUNDS, TRIALS = "text.jsonl", "rounds.json", "trials.jsonl"
_OURS = (MODEL, RUNS, RECORD, REPORT, REQUEST, TEXT, ROUNDS, TRIALS)


def take(folder: Path, request: dict[str, Any], *, overwrite: bool) -> None:
    """Prepare a locked output folder for a new adaptation, or check that it holds the same one.

    Args:
        folder: Output folder.
        request: Arguments of the adaptation.
        overwrite: Whether to delete an earlier adaptation.

    Raises:
        SmoothCSEError: If the folder holds something else, or an adaptation with other arguments.
    """
    there = {path.name for path in folder.iterdir()} - set(LOCK_FILES)
    if there and REQUEST not in there:
        raise SmoothCSEError(f"{folder} is not empty and holds no adaptation; give another --output.")
    if there and overwrite:
        _clear(folder)
    elif there:
        _require_same(folder, request)
        return
    write_text_atomic(folder / REQUEST, json.dumps(request, indent=2, ensure_ascii=False) + "\n")


def _require_same(folder: Path, request: dict[str, Any]) -> None:
    before = read_object(folder / REQUEST, "the arguments of an adaptation")
    names = [name for name in request if name != "output" and before.get(name) != request[name]]
    if names:
        raise SmoothCSEError(
            f"The adaptation in {folder} was started with other arguments ({', '.join(names)} differ); repeat them to "
            "continue it, replace it with --overwrite, or give another --output."
        )


def _clear(folder: Path) -> None:
    for name in (name for name in _OURS if name != REQUEST):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (folder / REQUEST).unlink()  # last, so that an interrupted deletion is continued by the next --overwrite
