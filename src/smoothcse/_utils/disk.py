"""Disks that are full or refuse, and limits on files: seen before the run where possible, explained where not."""

from __future__ import annotations

import errno
import os
import re
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from smoothcse.errors import SmoothCSEError, first_line

_TRAINING_STATE_FACTOR = 3  # weights, and AdamW's two moments of the same size
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
_OPEN_FILES_ERRORS = (errno.EMFILE, errno.ENFILE)
_CODE = re.compile(r"\b(?:os error|code:|errno) (\d+)\b")


def require_space(folder: Path, model: nn.Module) -> None:
    """Check that the run's files will fit: best, last, and three checkpoints while one replaces another.

    Args:
        folder: of the run; models and checkpoints that a resumed run has there already are not asked for again.
        model: as trained.

    Raises:
        SmoothCSEError: with what is needed and what is there.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    there = sum(path.stat().st_size for path in folder.glob("*/**/*") if path.is_file())
    needed = weights * (3 + 3 * _TRAINING_STATE_FACTOR) - there
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise SmoothCSEError(
            f"The run needs about {needed / 1e9:.2f} GB for checkpoints and models in {folder}, where "
            f"{free / 1e9:.2f} GB are free; make room or give another --output."
        )


@contextmanager
def explain_failed_writes(folder: Path) -> Iterator[None]:
    """Turn what the libraries below raise when they cannot write to a run's folder, or open a file, into one sentence.

    Args:
        folder: of the run, named in the message.

    Raises:
        SmoothCSEError: in place of an ``OSError``, and of what safetensors, tokenizers and ``torch.save`` raise when
            the disk is full; any other error passes as it is.
    """
    try:
        yield
    except Exception as error:
        if _code(error) in _OPEN_FILES_ERRORS:
            raise SmoothCSEError(
                f"The run in {folder} could not open one more file; what was complete is kept. "
                f"Raise the limit (ulimit -n), then {again(folder)}."
            ) from error
        if reason := _reason(error):
            raise SmoothCSEError(
                f"Writing to {folder} failed ({reason}); what was complete is kept. "
                f"Make room or mend the permissions, then {again(folder)}."
            ) from error
        if isinstance(error, OSError):
            raise SmoothCSEError(f"The run in {folder} stopped: {first_line(error)}") from error
        raise


def again(folder: Path) -> str:
    """Say how to go on; a run that failed before its first step has left nothing to resume."""
    return "go on with --resume" if (folder / "run.json").is_file() else "start it again"


def _reason(error: Exception) -> str | None:
    """Say why a write failed; None when the error is about something else."""
    code = _code(error)
    if code in _DISK_ERRORS:
        limit = ", see ulimit -f" if code == errno.EFBIG else ""
        return os.strerror(code) + limit
    if isinstance(error, RuntimeError) and _comes_from_torch_save(error):
        return "no space left, or files are limited in size, see ulimit -f"
    return None


def _code(error: Exception) -> int | None:
    """Return the system's error code; safetensors, tokenizers and torch have it in their messages alone."""
    if isinstance(error, OSError):
        return error.errno
    match = _CODE.search(str(error))
    return int(match.group(1)) if match else None


def _comes_from_torch_save(error: Exception) -> bool:
    # Its messages ("unexpected pos 64 vs 0", "iostream error") say nothing of a disk and change with the release.
    return any(frame.f_code is torch.save.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
