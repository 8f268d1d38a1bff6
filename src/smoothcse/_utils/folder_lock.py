"""A lock that lets one process at a time write to a folder.

The operating system releases the lock when the process ends, for whatever reason. A small file beside it names the
holder; it is read only while the lock is held, so a file left behind by a killed process does no harm.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from smoothcse.errors import SmoothCSEError, first_line

LOCK_FILE, HOLDER_FILE = ".lock", ".lock-holder.json"
LOCK_FILES = (LOCK_FILE, HOLDER_FILE)
"""Names of the files that a lock adds to its folder."""


@contextmanager
def lock_folder(folder: Path, *, remedy: str) -> Iterator[None]:
    """Hold the lock of a folder; fail at once if it is taken.

    Args:
        folder: Existing folder. The caller must not delete :data:`LOCK_FILES` while others may open it.
        remedy: Advice to the user if another process holds the lock. The end of a sentence, without a full stop.

    Raises:
        SmoothCSEError: If another process or thread holds the lock (the message names it), or if the folder cannot be
            locked.
    """
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
        _write_holder(folder)
    except (Timeout, RuntimeError) as error:  # RuntimeError: this thread already holds it
        raise SmoothCSEError(f"{folder} is in use by {_holder(folder)}; {remedy}.") from error
    except (OSError, NotImplementedError) as error:
        lock.release()
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise SmoothCSEError(
            f"{folder} cannot be locked for writing ({reason}); use a folder that you may write to, on a file system "
            "that supports locks."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER_FILE).unlink()
            (folder / LOCK_FILE).unlink()  # while the lock is held: filelock gives up on a deleted file
        lock.release()


def _write_holder(folder: Path) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(" ", "seconds")}
    (folder / HOLDER_FILE).write_text(json.dumps(holder) + "\n", encoding="utf-8")


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER_FILE).read_text(encoding="utf-8"))
        return f"process {int(holder['pid'])} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # the holder is just taking or releasing the lock
        return "another process"
