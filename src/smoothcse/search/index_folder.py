"""The folder of an index: its lock, its creation and its removal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from smoothcse._utils.folder_lock import LOCK_FILES, lock_folder
from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.search.documents import Document
from smoothcse.search.index_places import RECORD
from smoothcse.search.index_record import IndexRecord
from smoothcse.search.store import TABLE_FOLDER, Store
from smoothcse.search.table_rows import check_metadata


def require_room(path: Path, first: Sequence[Document]) -> None:
    """Refuse a folder with other content, and missing or unusable documents, before anything is written.

    Args:
        path: Folder for a new index.
        first: First documents to index.

    Raises:
        SmoothCSEError: If no index can be created there.
    """
    if not first:
        raise SmoothCSEError("There is no document to index: the text of each row is empty.")
    ours = {*LOCK_FILES, TABLE_FOLDER, RECORD, f"{RECORD}.new"}  # left by a killed process
    if path.exists() and (not path.is_dir() or any(file.name not in ours for file in path.iterdir())):
        raise SmoothCSEError(f"{path} holds something other than an index; give an empty or a new folder.")
    check_metadata(first)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of an index, or of the folder that becomes one.

    Raises:
        SmoothCSEError: If another process holds the lock, or the folder cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SmoothCSEError(f"The index {path} cannot be created: {first_line(error)}") from error
    with lock_folder(path, remedy="wait until it has ended, then run this again"):
        yield


def create_index(path: Path, record: IndexRecord, dimensions: int, sample: Sequence[Document]) -> None:
    """Create an index without documents; the record, which makes the folder an index, is written last.

    Args:
        path: Index folder.
        record: Description of the index.
        dimensions: Dimension of the vectors.
        sample: Documents whose metadata determine the columns.

    Raises:
        SmoothCSEError: If the index cannot be written.
    """
    try:
        Store.create(path, dimensions, sample)
    except (OSError, RuntimeError, ValueError) as error:
        raise SmoothCSEError(f"The index {path} cannot be created: {first_line(error)}") from error
    record.write(path)


def remove_index(path: Path) -> None:
    """Remove an index that received no document, because its columns would constrain the next attempt."""
    (path / RECORD).unlink(missing_ok=True)
    shutil.rmtree(path / TABLE_FOLDER, ignore_errors=True)
