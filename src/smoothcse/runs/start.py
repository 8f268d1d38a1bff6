"""Start of a run in its folder: locking, checks against an earlier run, and rollback if the run cannot start.

A run can fail until its first step, for example for lack of memory or disk space. Until then the previous contents of
the folder are kept in ``.replaced`` and restored on failure. After a kill, the next run in the folder restores them,
unless it resumes the killed run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from smoothcse._utils.atomic import recover_folder
from smoothcse._utils.folder_lock import LOCK_FILES, lock_folder
from smoothcse.encoders.precision import has_fast_bf16
from smoothcse.errors import SmoothCSEError
from smoothcse.runs.checkpoints import step_of
from smoothcse.runs.config import changed_fields
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import Manifest, read_manifest
from smoothcse.runs.metrics import replace_metrics
from smoothcse.runs.result import TrainResult, result_of

_REPLACED = ".replaced"  # previous contents, complete
_MOVING = ".moving"  # part of them, being moved there or back
_DISCARDED = ".discarded"  # being deleted
_OURS = (*LOCK_FILES, _REPLACED, _MOVING, _DISCARDED)


class Continuation(NamedTuple):
    """Where a run continues.

    Attributes:
        checkpoint: Checkpoint to continue from; None to begin at step 0.
        skipped: One sentence for each newer checkpoint that is damaged and has been deleted.
        warnings: Warnings that the run has recorded so far, if it has a checkpoint.
    """

    checkpoint: Path | None
    skipped: Sequence[str] = ()
    warnings: Sequence[str] = ()


@contextmanager
def take_folder(folder: RunFolder, manifest: Manifest, *, resume: bool, overwrite: bool) -> Iterator[Continuation]:
    """Lock a run folder, and prepare it for a new run or find where a resumed run continues.

    Args:
        folder: Run folder; created if needed.
        manifest: Manifest of the run to come, from :func:`~smoothcse.runs.provenance.running_manifest`.
        resume: Whether to continue the run in this folder.
        overwrite: Whether to replace the run in this folder.

    Yields:
        Where the run continues.

    Raises:
        SmoothCSEError: If another process uses the folder, if the folder holds something else, or if the run to resume
            has finished or differs.
    """
    if resume and not _holds_run(folder):
        raise SmoothCSEError(f"{folder.path} holds no run to resume; omit --resume to start one.")
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
            yield Continuation(None)
        except BaseException:
            _undo(folder.path)
            raise


def settle(folder: RunFolder) -> None:
    """Delete the run that was replaced; from here on, the new run is kept."""
    if (folder.path / _REPLACED).exists():
        (folder.path / _REPLACED).rename(folder.path / _DISCARDED)
        shutil.rmtree(folder.path / _DISCARDED)


def finished_run(folder: RunFolder, config: Mapping[str, Any]) -> TrainResult | None:
    """Return the result of the run in a folder if it has reached its last step.

    Args:
        folder: Run folder.
        config: Fields of the configuration that the run should have.

    Raises:
        SmoothCSEError: If the run is finished but has another configuration, or its manifest is damaged.
    """
    if not folder.manifest_file.is_file():
        return None
    manifest = read_manifest(folder.path)
    if not manifest.finished:
        return None
    _require_same_config(folder.path, manifest.config, config)
    return result_of(folder.path, manifest)


def _holds_run(folder: RunFolder) -> bool:
    return folder.manifest_file.is_file() or (folder.path / _REPLACED / folder.manifest_file.name).is_file()


def _resume(folder: RunFolder, manifest: Manifest) -> Continuation:
    before = read_manifest(folder.path)
    _require_same_config(folder.path, before.config, manifest.config)
    if before.finished:  # since this process checked
        raise SmoothCSEError(f"The run in {folder.path} is finished; there is nothing to resume.")
    _require_same_inputs(folder.path, before, manifest)
    _require_same_scores(folder.path, before, manifest)
    recover_folder(folder.best)
    checkpoint = folder.latest_checkpoint()
    step = step_of(checkpoint) if checkpoint else -1
    kept = [entry for entry in folder.metrics() if entry["step"] <= step]
    replace_metrics(folder.metrics_file, kept)
    warnings = before.warnings if checkpoint else ()
    return Continuation(checkpoint, folder.drop_damaged_checkpoints(checkpoint), warnings)


def _require_same_config(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    changed = [f"{name} ({before.get(name)!r} then, {now.get(name)!r} now)" for name in changed_fields(before, now)]
    if changed:
        raise SmoothCSEError(
            f"The run in {folder} cannot be resumed with another configuration; changed: {', '.join(changed)}."
        )


def _require_same_inputs(folder: Path, before: Manifest, now: Manifest) -> None:
    """Check that corpus, dev data and model are unchanged; older manifests lack some fingerprints."""
    pairs = [("corpus", before.fingerprint, now.fingerprint)]
    pairs += [("dev data", before.dev_fingerprint, now.dev_fingerprint)]
    if before.versions == now.versions:  # another release may fingerprint the same model differently
        pairs += [("model", before.model_fingerprint, now.model_fingerprint)]
    for what, then, today in pairs:
        if then is not None and then != today:
            raise SmoothCSEError(
                f"The run in {folder} cannot be resumed: its {what} has changed (fingerprint {then} then, "
                f"{today} now). Restore the earlier {what}, or start again with --overwrite."
            )


def _require_same_scores(folder: Path, before: Manifest, now: Manifest) -> None:
    """Check that the dev scores of a run are comparable.

    A manifest without precision is from a version that chose it by the processor.
    """
    device_type = "cpu" if "cpu" in (before.hardware or "").lower() else "cuda"
    then = before.dev_precision or ("bf16" if has_fast_bf16(device_type) else "fp32")
    today = now.dev_precision
    if then != today:
        raise SmoothCSEError(
            f"The run in {folder} cannot be resumed: an earlier version computed its dev scores in {then}, and "
            f"this one computes them in {today}. Finish it with that version, or start again with --overwrite."
        )


def _require_free(folder: RunFolder, overwrite: bool) -> None:
    there = [path for top in _contents(folder.path) for path in (top, *top.rglob("*"))]
    if not any(path.is_file() for path in there):
        return
    if not folder.manifest_file.is_file():
        raise SmoothCSEError(f"{folder.path} holds files that do not belong to a run; give an empty or a new folder.")
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
    """Restore the previous contents, unless the run has been settled. Safe against a kill in between."""
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
    """Create a folder if it does not exist, and remove it again if the block fails."""
    if path.exists() and not path.is_dir():
        raise SmoothCSEError(f"{path} is a file; give a folder for the output.")
    new = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SmoothCSEError(f"The output folder {path} cannot be created: {error.strerror}.") from error
    try:
        yield
    except BaseException:
        if new:
            with suppress(OSError):  # not empty
                path.rmdir()
        raise
