"""Files that outlive a loss of power: written under another name, synced, and only then put in their place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_whole(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with new_file(path) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name, and the place of a former one, only when it is complete and synced."""
    temporary = _temporary(path)
    try:
        with temporary.open("w+b") as file:
            yield file
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Find out whether a file could be written, before the work that fills it; nothing stays.

    Raises:
        OSError: if not.
    """
    _temporary(path).touch()
    _temporary(path).unlink()


def replace_folder(new: Path, target: Path) -> None:
    """Put a complete folder in the place of another one.

    A folder cannot be replaced in one move. Between the two moves the former one stands as ``NAME.old``, where
    :func:`recover_folder` finds it.
    """
    old = target.with_name(target.name + ".old")
    sync_folder(new)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Undo a :func:`replace_folder` that was cut off between its two moves."""
    old = target.with_name(target.name + ".old")
    if not target.exists() and old.exists():
        old.rename(target)


def sync_folder(folder: Path) -> None:
    """Have the disk hold a folder's files before anything refers to them."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file so far, or a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
