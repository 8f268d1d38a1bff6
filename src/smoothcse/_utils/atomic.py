"""Atomic writes: a file or folder appears under its name only when it is complete and on disk."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from smoothcse.errors import SmoothCSEError


def write_text_atomic(path: Path, text: str) -> None:
    """Write a UTF-8 text file completely or not at all."""
    with open_atomic(path) as file:
        file.write(text.encode("utf-8"))


@contextmanager
def open_atomic(path: Path, *, unique: bool = False) -> Iterator[IO[bytes]]:
    """Open a binary file that replaces ``path`` when the block ends without an error.

    Until then it is ``NAME.new`` in the same folder.

    Args:
        path: File to write. Its folder must exist.
        unique: Whether the temporary file gets a name of its own (``.NAME.xxxxxxxx.new``), so that several processes
            can write the same file; the last one to finish wins.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.new") if unique else _temporary(path)
    try:
        with temporary.open("w+b") as file:
            yield file
        fsync(temporary)
        os.replace(temporary, path)
        fsync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def explain_unwritable(path: Path, remedy: str = "free some space, or give another path") -> Iterator[None]:
    """Turn an ``OSError`` inside the block into one sentence about the file.

    Args:
        path: File or folder that is being written.
        remedy: Advice to the user. The end of a sentence, without a full stop.

    Raises:
        SmoothCSEError: If the file cannot be written; replaces the ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise SmoothCSEError(f"{path} cannot be written ({error.strerror or error}): {remedy}.") from error


def require_writable(path: Path) -> None:
    """Check that a file can be written, before doing the work that fills it; leaves nothing behind.

    Raises:
        OSError: If the file cannot be written.
    """
    _temporary(path).touch()
    _temporary(path).unlink()


def replace_folder(new: Path, target: Path) -> None:
    """Move a complete folder to ``target``, replacing the folder there.

    A folder cannot be replaced in one step. Between the two moves, the previous folder is ``NAME.old``, where
    :func:`recover_folder` finds it.
    """
    old = target.with_name(target.name + ".old")
    fsync_tree(new)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    fsync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Undo a :func:`replace_folder` that was interrupted between its two moves."""
    old = target.with_name(target.name + ".old")
    if not target.exists() and old.exists():
        old.rename(target)


def fsync(path: Path) -> None:
    """Flush a file's contents, or a folder's list of names, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(folder: Path) -> None:
    """Flush a folder and everything in it to disk."""
    for path in folder.rglob("*"):
        fsync(path)
    fsync(folder)


def _temporary(path: Path) -> Path:
    return path.with_name(path.name + ".new")
