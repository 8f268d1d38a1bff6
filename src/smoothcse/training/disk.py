"""Full disks: seen before the run where possible, explained where not."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from torch import nn

from smoothcse.errors import SmoothCSEError, first_line

_TRAINING_STATE_FACTOR = 3  # weights, and AdamW's two moments of the same size


def require_space(folder: Path, model: nn.Module) -> None:
    """Check that the run's files will fit: best, last, and three checkpoints while one replaces another.

    Raises:
        SmoothCSEError: with what is needed and what is there.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    needed = weights * (3 + 3 * _TRAINING_STATE_FACTOR)
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise SmoothCSEError(
            f"The run needs about {needed / 1e9:.1f} GB for checkpoints and models in {folder}, where "
            f"{free / 1e9:.1f} GB are free; make room or give another --output."
        )


def explain_full_disk(error: OSError, folder: Path) -> Exception:
    """Return the error to raise for a failed write: one sentence if the disk is full or read-only."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
        return SmoothCSEError(
            f"Writing to {folder} failed ({error.strerror}); what was complete is kept. "
            "Make room or mend the permissions, then go on with --resume."
        )
    return SmoothCSEError(f"The run in {folder} stopped: {first_line(error)}")


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
