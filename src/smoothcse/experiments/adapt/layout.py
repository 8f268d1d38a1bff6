"""Layout of the output folder of an adaptation.

::

    model/          the encoder to use: adapted, or the start if adapting did not help
    documents.index the documents, indexed with the model
    adapt.json      everything that was measured
    report.html     the same as a page
    request.json    the arguments and the fingerprints of text and model, which a continued adaptation must share
    text.jsonl      the passages that may be trained on
    rounds.json     the planned rounds
    trials.jsonl    one line per trained candidate
    runs/           the run folders of the candidates; only the best one keeps its model
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.folder_lock import LOCK_FILES
from smoothcse._utils.json_files import read_object
from smoothcse._utils.paths import local_path
from smoothcse.errors import SmoothCSEError
from smoothcse.search.index_places import ADAPTED_INDEX

MODEL, RUNS, LAST = "model", "runs", "last"
RECORD, REPORT, REQUEST = "adapt.json", "report.html", "request.json"
TEXT, ROUNDS, TRIALS = "text.jsonl", "rounds.json", "trials.jsonl"
# In the order of deletion: an interrupted deletion leaves no record without its model, and no trial without its run.
_OURS = (RECORD, ROUNDS, TRIALS, REPORT, TEXT, RUNS, ADAPTED_INDEX, MODEL)
TEXT_FINGERPRINT, MODEL_FINGERPRINT = "text_fingerprint", "model_fingerprint"
_PLACES = ("documents", "model", "dev", "general")


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder, and remove it again if nothing has been written to it."""
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if new:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def require_usable(folder: Path, request: dict[str, Any], *, overwrite: bool) -> None:
    """Check that a locked output folder is empty, or holds an adaptation that may be continued or replaced.

    Until the rounds are planned, nothing is worth keeping, and an adaptation may be started again with other
    arguments.

    Args:
        folder: Output folder.
        request: Arguments of the adaptation.
        overwrite: Whether an earlier adaptation may be replaced.

    Raises:
        SmoothCSEError: If the folder holds something else, or an adaptation with other arguments.
    """
    there = {path.name for path in folder.iterdir()} - set(LOCK_FILES)
    if there and not (REQUEST in there and request.keys() <= _before(folder).keys()):
        raise SmoothCSEError(f"{folder} is not empty and holds no adaptation; give another --output.")
    if _is_begun(folder) and not overwrite:
        _require_same(folder, request)


def take(folder: Path, request: dict[str, Any], fingerprints: dict[str, str], *, overwrite: bool) -> None:
    """Prepare a locked output folder for an adaptation, or check that it holds the same one.

    Args:
        folder: Output folder.
        request: Arguments of the adaptation.
        fingerprints: :data:`TEXT_FINGERPRINT` of the passages, and :data:`MODEL_FINGERPRINT` of the start.
        overwrite: Whether to delete an earlier adaptation.

    Raises:
        SmoothCSEError: If the folder holds something else, or an adaptation with other arguments, to other text or of
            another model.
    """
    require_usable(folder, request, overwrite=overwrite)
    if _is_begun(folder) and not overwrite:
        _require_same_contents(folder, request, fingerprints)
        return
    _clear(folder)
    arguments = {**request, **fingerprints}
    write_text_atomic(folder / REQUEST, json.dumps(arguments, indent=2, ensure_ascii=False) + "\n")


def _is_begun(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (ROUNDS, RECORD))


def _before(folder: Path) -> dict[str, Any]:
    return read_object(folder / REQUEST, "the arguments of an adaptation")


def _require_same(folder: Path, request: dict[str, Any]) -> None:
    before = _before(folder)
    names = [name for name in request if name != "output" and not _is_same(name, before.get(name), request[name])]
    if names:
        raise SmoothCSEError(
            f"The adaptation in {folder} was started with other arguments ({', '.join(names)} differ); repeat them to "
            "continue it, replace it with --overwrite, or give another --output."
        )


def _is_same(name: str, before: Any, now: Any) -> bool:
    """Return whether two values of an argument mean the same; a path may be spelled in several ways."""
    if name in _PLACES and isinstance(before, str) and isinstance(now, str):
        then, here = local_path(before), local_path(now)
        return before == now or (here.exists() and then.resolve() == here.resolve())
    return bool(before == now)


def _require_same_contents(folder: Path, request: dict[str, Any], fingerprints: dict[str, str]) -> None:
    before = _before(folder)
    then, now = before.get(MODEL_FINGERPRINT), fingerprints[MODEL_FINGERPRINT]
    changed = None
    if before.get(TEXT_FINGERPRINT) != fingerprints[TEXT_FINGERPRINT]:
        changed = "The documents have changed"
    elif then not in (None, now):  # None in an adaptation that an earlier version has started
        changed = f"The model {request['model']} has changed (fingerprint {then}, now {now})"
    if changed:
        raise SmoothCSEError(
            f"{changed} since the adaptation in {folder} was started; replace it with --overwrite, or give another "
            "--output."
        )


def _clear(folder: Path) -> None:
    for name in _OURS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
