"""How a run takes its folder: one process at a time, checked against the record there, undone if it is refused.

A run can be refused until its first step: too little memory or disk, a model that cannot learn. Until then the former
contents of the folder lie in ``.replaced``, and a refusal puts them back. A process that is killed cannot do so; the
next run in the folder does it, unless it resumes the killed one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from smoothcse._utils.atomic import recover_folder, write_whole
from smoothcse._utils.folder_lock import LOCK_FILES, lock_folder
from smoothcse.encoders.precision import has_fast_bf16
from smoothcse.errors import SmoothCSEError
from smoothcse.runs.checkpoints import step_of
from smoothcse.runs.config import changed_fields
from smoothcse.runs.folder import RunFolder

_REPLACED = ".replaced"  # the former contents, complete
_MOVING = ".moving"  # part of them, on the way there or back
_DISCARDED = ".discarded"  # being deleted
_OURS = (*LOCK_FILES, _REPLACED, _MOVING, _DISCARDED)


@contextmanager
def take_folder(
    folder: RunFolder, manifest: dict[str, Any], *, resume: bool, overwrite: bool
) -> Iterator[Path | None]:
    """Hold the folder of a run and make it ready for a new run, or find where a resumed one continues.

    Args:
        folder: Folder of the run; created if needed.
        manifest: Record of the run to come, from :func:`~smoothcse.runs.provenance.running_manifest`.
        resume: Whether to continue the run in this folder.
        overwrite: Whether to replace the run in this folder.

    Yields:
        The checkpoint to continue from, or None to begin at step 0.

    Raises:
        SmoothCSEError: If another process holds the folder, if it holds something else, or if the resumed run is
            finished or has changed.
    """
    if resume and not _holds_run(folder):
        raise SmoothCSEError(f"{folder.path} holds no run to resume; leave out --resume to start one there.")
    with _made(folder.path), lock_folder(folder.path, remedy="wait until it ends, or give another --output"):
        shutil.rmtree(folder.path / _DISCARDED, ignore_errors=True)
        if not (resume and folder.manifest_file.is_file()):
            _undo(folder.path)
        if resume:
            yield _resume(folder, manifest)
            return
        try:
            _require_free(folder, overwrite)
            _set_aside(folder.path)
            yield None
        except BaseException:
            _undo(folder.path)
            raise


def settle(folder: RunFolder) -> None:
    """Drop what the run has replaced: from here on it is this run that is kept."""
    if (folder.path / _REPLACED).exists():
        (folder.path / _REPLACED).rename(folder.path / _DISCARDED)
        shutil.rmtree(folder.path / _DISCARDED)


def require_same_config(folder: RunFolder, config: dict[str, Any]) -> None:
    """Check that the run in a folder has this configuration.

    Raises:
        SmoothCSEError: With the fields that differ.
    """
    before = folder.read_manifest().get("config", {})
    changed = [f"{name} ({before.get(name)!r} then, {config[name]!r} now)" for name in changed_fields(before, config)]
    if changed:
        raise SmoothCSEError(
            f"The run in {folder.path} cannot be resumed with another configuration; changed: {', '.join(changed)}."
        )


def _holds_run(folder: RunFolder) -> bool:
    return folder.manifest_file.is_file() or (folder.path / _REPLACED / folder.manifest_file.name).is_file()


def _resume(folder: RunFolder, manifest: dict[str, Any]) -> Path | None:
    require_same_config(folder, manifest["config"])
    if folder.finished:  # since this process looked
        raise SmoothCSEError(f"The run in {folder.path} is finished; there is nothing to resume.")
    _require_same_inputs(folder, manifest)
    _require_same_scores(folder, manifest)
    recover_folder(folder.best)
    checkpoint = folder.latest_checkpoint()
    step = step_of(checkpoint) if checkpoint else -1
    kept = [entry for entry in folder.metrics() if entry["step"] <= step]
    write_whole(folder.metrics_file, "".join(json.dumps(entry) + "\n" for entry in kept))
    return checkpoint


def _require_same_inputs(folder: RunFolder, now: dict[str, Any]) -> None:
    """Check that the files that a configuration names hold what they held; older records lack some fingerprints."""
    before = folder.read_manifest()
    pairs = [("corpus", _fingerprint(before), _fingerprint(now))]
    pairs += [("dev data", before.get("dev_fingerprint"), now["dev_fingerprint"])]
    if before.get("versions") == now["versions"]:  # another release may describe the same model in other words
        pairs += [("model", before.get("model_fingerprint"), now["model_fingerprint"])]
    for what, then, today in pairs:
        if then is not None and then != today:
            raise SmoothCSEError(
                f"The run in {folder.path} cannot be resumed: its {what} has changed (fingerprint {then} then, "
                f"{today} now). Bring the former {what} back, or start anew with --overwrite."
            )


def _require_same_scores(folder: RunFolder, now: dict[str, Any]) -> None:
    """Check that the dev scores of a run compare.

    A record without their precision is of a version that let it follow the processor.
    """
    before = folder.read_manifest()
    device_type = "cpu" if "cpu" in str(before.get("hardware", "")).lower() else "cuda"
    then = before.get("dev_precision", "bf16" if has_fast_bf16(device_type) else "fp32")
    today = now["dev_precision"]
    if then != today:
        raise SmoothCSEError(
            f"The run in {folder.path} cannot be resumed: an earlier version computed its dev scores in {then}, and "
            f"this one computes them in {today}. Finish it with that version, or start anew with --overwrite."
        )


def _fingerprint(manifest: dict[str, Any]) -> Any:
    data = manifest.get("data")
    return data.get("fingerprint") if isinstance(data, dict) else None


def _require_free(folder: RunFolder, overwrite: bool) -> None:
    there = [path for top in _contents(folder.path) for path in (top, *top.rglob("*"))]
    if not any(path.is_file() for path in there):
        return
    if not folder.manifest_file.is_file():
        raise SmoothCSEError(f"{folder.path} holds files that are no run of ours; give an empty or a new folder.")
    if not overwrite:
        raise SmoothCSEError(
            f"{folder.path} holds another run; continue it with --resume, replace it with --overwrite, "
            "or give another --output."
        )


def _set_aside(path: Path) -> None:
    (path / _MOVING).mkdir()
    for child in _contents(path):
        child.rename(path / _MOVING / child.name)
    (path / _MOVING).rename(path / _REPLACED)


def _undo(path: Path) -> None:
    """Put back what was set aside; nothing to do once the run is settled. A kill in between loses nothing."""
    if (path / _REPLACED).exists():
        for child in _contents(path):
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
        (path / _REPLACED).rename(path / _MOVING)
    if (path / _MOVING).exists():
        for child in (path / _MOVING).iterdir():
            child.rename(path / child.name)
        (path / _MOVING).rmdir()


def _contents(path: Path) -> list[Path]:
    return [child for child in path.iterdir() if child.name not in _OURS]


@contextmanager
def _made(path: Path) -> Iterator[None]:
    """Make a folder where there is none, and remove it again if nothing comes of it."""
    if path.exists() and not path.is_dir():
        raise SmoothCSEError(f"{path} is a file; give a folder for the output.")
    new = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SmoothCSEError(f"The output folder {path} cannot be made: {error.strerror}.") from error
    try:
        yield
    except BaseException:
        if new:
            with suppress(OSError):  # it holds something
                path.rmdir()
        raise
