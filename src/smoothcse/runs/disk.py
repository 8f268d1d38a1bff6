"""Clear errors for full or read-only disks and file limits, before a run if possible."""

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
from smoothcse.runs.manifest import manifest_file

_TRAINING_STATE_FACTOR = 3  # weights, and AdamW's two moments of the same size
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
_OPEN_FILES_ERRORS = (errno.EMFILE, errno.ENFILE)
_CODE = re.compile(r"\b(?:os error|code:|errno) (\d+)\b")


def require_space(folder: Path, model: nn.Module) -> None:
    """Check that the files of a run will fit on the disk: best, last, and three checkpoints during a replacement.

    Args:
        folder: Run folder. Models and checkpoints that a resumed run already has there are subtracted.
        model: Model to train.

    Raises:
        SmoothCSEError: If the space is not sufficient.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    there = sum(path.stat().st_size for path in folder.glob("*/**/*") if path.is_file())
    needed = weights * (3 + 3 * _TRAINING_STATE_FACTOR) - there
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise SmoothCSEError(
            f"The run needs about {needed / 1e9:.2f} GB for checkpoints and models in {folder}, where "
            f"{free / 1e9:.2f} GB are free; free some space or give another --output."
        )


class FailedWrite(SmoothCSEError):
    """A file that the system did not let a run write or open.

    Args:
        problem: What failed, and where.
        remedy: What to change.
        continuing: How to continue after that.
    """

    def __init__(self, problem: str, remedy: str, continuing: str) -> None:
        super().__init__(f"{problem}; completed files are kept. {remedy}, then {continuing}.")
        self.problem, self.remedy = problem, remedy


@contextmanager
def explain_failed_writes(folder: Path, continuing: str | None = None) -> Iterator[None]:
    """Explain in one sentence why a run folder could not be written, or a file not opened.

    Args:
        folder: Run folder, named in the message.
        continuing: How to continue, also after an error that a run inside has explained. Default: as a run continues.

    Raises:
        FailedWrite: If a file cannot be written or opened: replaces an ``OSError`` and the errors of safetensors,
            tokenizers and ``torch.save`` on a full disk.
        SmoothCSEError: For another ``OSError``. Other errors are not changed.
    """
    try:
        yield
    except FailedWrite as error:
        if continuing is None:
            raise
        raise FailedWrite(error.problem, error.remedy, continuing) from error
    except Exception as error:
        if _code(error) in _OPEN_FILES_ERRORS:
            problem, remedy = f"The run in {folder} could not open another file", "Raise the limit (ulimit -n)"
            raise FailedWrite(problem, remedy, continuing or again(folder)) from error
        if reason := _reason(error):
            problem, remedy = f"Writing to {folder} failed ({reason})", "Free some space or fix the permissions"
            raise FailedWrite(problem, remedy, continuing or again(folder)) from error
        if isinstance(error, OSError):
            raise SmoothCSEError(f"The run in {folder} stopped: {first_line(error)}") from error
        raise


def again(folder: Path) -> str:
    """Return how to continue; a run that failed before its first step has nothing to resume."""
    return "continue with --resume" if manifest_file(folder).is_file() else "start it again"


def _reason(error: Exception) -> str | None:
    """Return why a write failed; None for an error of another kind."""
    code = _code(error)
    if code in _DISK_ERRORS:
        limit = ", see ulimit -f" if code == errno.EFBIG else ""
        return os.strerror(code) + limit
    if isinstance(error, RuntimeError) and _comes_from_torch_save(error):
        return "no space left, or files are limited in size, see ulimit -f"
    return None


def _code(error: Exception) -> int | None:
    """Return the system's error code, which safetensors, tokenizers and torch only mention in their messages."""
    if isinstance(error, OSError):
        return error.errno
    match = _CODE.search(str(error))
    return int(match.group(1)) if match else None


def _comes_from_torch_save(error: Exception) -> bool:
    # Its messages ("unexpected pos 64 vs 0", "iostream error") do not mention a disk, and change between releases.
    return any(frame.f_code is torch.save.__code__ for frame, _ in traceback.walk_tb(error.__traceback__))


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
