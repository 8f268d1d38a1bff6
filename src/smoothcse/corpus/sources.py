"""Resolution of a corpus name to the files that contain its text."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from smoothcse._utils.paths import local_path, shown_path
from smoothcse.corpus.formats import SUPPORTED, TextFile, is_document, is_supported
from smoothcse.corpus.readers import read_batches, to_batches
from smoothcse.errors import SmoothCSEError, did_you_mean, some_of

PYTHON_DOCS = "python-docs"
WIKI1M = "wiki1m"
WIKI1M_ADDRESS = "princeton-nlp/datasets-for-simcse:wiki1m_for_simcse.txt"
WIKI1M_LINES = (1_000_000, 1_000_001)  # the published logs count one more line than the name says


@dataclass(frozen=True)
class Source:
    """Source of a corpus.

    Attributes:
        name: Name given by the user.
        files: Files to read, in order; empty for the built-in ``python-docs``.
        notes: Remarks on the choice of files, for the report.
    """

    name: str
    files: tuple[TextFile, ...] = ()
    notes: tuple[str, ...] = ()

    def identity(self) -> list[list[str | int]]:
        """Return values that change when the text may have changed: path, size and time of each file."""
        if self.name == PYTHON_DOCS:
            code = sorted(Path(__file__).with_name("python_docs").glob("*.py"))
            return [[PYTHON_DOCS, sys.version], *map(_stamp, code)]
        return [_stamp(file.path) for file in self.files]

    def verify(self) -> None:
        """Compare the files from the hub with their published digests.

        Raises:
            SmoothCSEError: If a file was damaged during the download.
        """
        if any(file.sha256 for file in self.files):
            from smoothcse.corpus.hub_datasets import verify

            for file in self.files:
                verify(file)

    def batches(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Read all rows, in order, without cleaning.

        Args:
            columns: Columns to read, see :func:`~smoothcse.corpus.text_columns.choose_columns`.
        """
        if self.name == PYTHON_DOCS:
            from smoothcse.corpus.python_docs import iter_sentences

            yield from to_batches((sentence,) for sentence in iter_sentences())
        for file in self.files:
            yield from read_batches(file, columns)


def resolve(source: str | Path) -> Source:
    """Find the files of a source; download them if they are on the hub.

    Args:
        source: ``python-docs``, ``wiki1m``, a file, a folder, or a dataset on the hub as ``owner/name``,
            ``owner/name:file``, ``owner/name@revision`` or ``owner/name@revision:file``. Local paths take precedence
            over the hub; a ``Path`` is never looked up on the hub.

    Returns:
        Source, whose files have not been read yet.

    Raises:
        SmoothCSEError: If the source does not exist, or has no file in a supported format.
    """
    name = str(source)
    if name == PYTHON_DOCS:
        return Source(name)
    if name == WIKI1M:
        return replace(from_hub(WIKI1M_ADDRESS), name=name)
    path = local_path(source)
    mode = file_mode(path) if name.strip() else None
    if mode is None:
        return from_hub(name) if isinstance(source, str) and is_on_hub(name) else refuse_missing(path)
    if stat.S_ISDIR(mode):
        return _from_folder(path)
    if not stat.S_ISREG(mode):
        raise SmoothCSEError(f"{path} is neither a file nor a folder: write its contents to a file first.")
    return Source(name, (_supported(path, _use_adapt([path.name])),))


def require_file(path: Path) -> TextFile:
    """Return a file after checking that it exists and has a supported format.

    Args:
        path: Path of the file.

    Raises:
        SmoothCSEError: If the file does not exist, is not a regular file, or has an unsupported format.
    """
    mode = file_mode(path)
    if mode is None:
        refuse_missing(path)
    if not stat.S_ISREG(mode):
        what = "is a folder: give a file" if stat.S_ISDIR(mode) else "is not a file: write its contents to one first"
        raise SmoothCSEError(f"{path} {what}.")
    return _supported(path)


def _supported(path: Path, remedy: str = "") -> TextFile:
    if not is_supported(path.name):
        raise SmoothCSEError(f"{path} has an unsupported format: supported are {SUPPORTED}{remedy}.")
    return TextFile(path, shown_path(path))


def _use_adapt(names: Sequence[str]) -> str:
    """Return what reads the documents among files in other formats."""
    found = any(map(is_document, names))
    return "; `smoothcse adapt` reads documents, as does the Python function `load_documents`" if found else ""


def file_mode(path: Path) -> int | None:
    """Return the file's mode, or None if the path does not exist.

    Raises:
        SmoothCSEError: If a folder above is not accessible, or the path is a dangling symbolic link.
    """
    try:
        return path.stat().st_mode
    except PermissionError as error:
        raise SmoothCSEError(
            f"{path} cannot be reached: permission denied on a folder above it; ask its owner."
        ) from error
    except (OSError, ValueError):
        if os.path.islink(path):
            raise SmoothCSEError(
                f"{path} is a symbolic link to {os.readlink(path)}, which does not exist: fix or remove the link."
            ) from None
        return None


def _stamp(path: Path) -> list[str | int]:
    status = path.stat()
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]


def is_on_hub(name: str) -> bool:
    """Return whether a name without a local file may be a dataset on the hub; ``data/wkii.txt`` is a typo.

    Args:
        name: Name of a source.
    """
    from smoothcse.corpus.hub_datasets import HubAddress

    address = HubAddress.parse(name)
    if address is None:
        return False
    return address.file is not None or not (is_supported(name) or Path(name).parent.is_dir())


def from_hub(name: str) -> Source:
    """Download a dataset from the hub; see :func:`~smoothcse.corpus.hub_datasets.fetch`.

    Args:
        name: Address of the dataset.

    Raises:
        SmoothCSEError: If the dataset does not exist, has no file in a supported format, or cannot be downloaded.
    """
    from smoothcse.corpus.hub_datasets import HubAddress, fetch

    address = HubAddress.parse(name)
    assert address is not None
    files = tuple(fetch(address))
    notes = () if address.file else (f"files read: {', '.join(file.label.split(':')[-1] for file in files)}",)
    return Source(name, files, notes)


def _from_folder(folder: Path) -> Source:
    found = sorted(walk_files(folder))
    files = tuple(TextFile(path, shown_path(path)) for path in found if is_supported(path.name))
    ignored = [shown_path(path.relative_to(folder)) for path in found if not is_supported(path.name)]
    remedy = _use_adapt(ignored)
    if not files:
        raise SmoothCSEError(
            f"Folder {folder} contains no file in a supported format ({len(ignored)} in other formats): "
            f"supported are {SUPPORTED}{remedy}."
        )
    notes = (f"{len(ignored)} files in other formats ignored: {some_of(ignored, 3)}{remedy}",) if ignored else ()
    return Source(str(folder), files, notes)


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield the regular files in a folder, folder by folder in the order of their names, without hidden ones.

    Args:
        folder: Folder to search recursively.

    Raises:
        SmoothCSEError: If a folder cannot be listed.
    """
    for here, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(here, name) for name in sorted(names) if not name.startswith("."))
        # Reading a pipe could block for ever.
        yield from (path for path in paths if stat.S_ISREG(file_mode(path) or 0))


def _refuse_folder(error: OSError) -> NoReturn:
    raise SmoothCSEError(
        f"Folder {error.filename} cannot be listed ({error.strerror}): change its permissions (chmod u+rx)."
    ) from error


def refuse_missing(path: Path, remedy: str = "") -> NoReturn:
    """Raise the error for a path that does not exist, with a similar name from its folder.

    Args:
        path: Path that does not exist.
        remedy: Sentence on what to give instead. Default: what :func:`resolve` accepts.
    """
    parent = path.parent
    neighbours = sorted(os.listdir(parent)) if os.access(parent, os.R_OK) and parent.is_dir() else []
    hint = did_you_mean(path.name, neighbours if remedy else [*neighbours, WIKI1M, PYTHON_DOCS])
    remedy = remedy or f"Give a path that exists, {WIKI1M!r}, {PYTHON_DOCS!r} or a hub dataset as owner/name."
    raise SmoothCSEError(
        f"There is no file or folder {str(path)!r} (looked in {parent.absolute()})." + (hint or f" {remedy}")
    )
