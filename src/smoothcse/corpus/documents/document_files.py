"""Files of documents: a single one, or a folder that is walked lazily."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from smoothcse._utils.paths import local_path, shown_path
from smoothcse.corpus.formats import BINARY, MARKUP, TextFile
from smoothcse.corpus.sources import file_mode, refuse_missing, walk_files
from smoothcse.errors import SmoothCSEError, some_of

TABLES = frozenset({".jsonl", ".csv", ".tsv", ".parquet"})
TEXTS = MARKUP | {".txt"}
_UNCOMPRESSED = BINARY | {".parquet"}
_FORMATS = TABLES | TEXTS | BINARY
DOCUMENT_FORMATS = ".txt, .md, .html, .pdf, .docx, .jsonl, .csv, .tsv, .parquet (the text ones also with .gz or .zst)"

_SHOWN = 3


@dataclass(frozen=True)
class DocumentFiles:
    """Files of documents, which are found anew by each iteration, so that memory does not grow with their number.

    Attributes:
        root: File or folder.
        count: Number of files in a supported format.
        tables: Number of tables among them.
        digest: Hash of the path, size and times of each of them.
        ignored: Number of files in other formats.
        examples: Some of the ignored files.
    """

    root: Path
    count: int
    tables: int
    digest: str
    ignored: int
    examples: tuple[str, ...]

    def __iter__(self) -> Iterator[TextFile]:
        return (file for file in _candidates(self.root) if _is_document(file))

    @property
    def notes(self) -> tuple[str, ...]:
        """Remark on the files that are ignored, for the report."""
        if not self.ignored:
            return ()
        more = f" and {self.ignored - len(self.examples):,} more" if self.ignored > len(self.examples) else ""
        return (f"{self.ignored:,} files in other formats ignored: {some_of(self.examples)}{more}",)


def find_documents(source: str | Path) -> DocumentFiles:
    """Find the files of a source.

    Args:
        source: File, or folder that is searched recursively. Hidden files and folders are left out.

    Returns:
        Files in the order of their names, those of a folder before those of its subfolders.

    Raises:
        SmoothCSEError: If the source does not exist, cannot be read, or has no file in a supported format.
    """
    root = local_path(source)
    mode = file_mode(root) if str(source).strip() else None
    if mode is None:
        refuse_missing(root, "Give a file or a folder of documents, 'python-docs' or a hub dataset as owner/name.")
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise SmoothCSEError(f"{root} is neither a file nor a folder: write its contents to a file first.")
    found = _scan(root)
    if not found.count:
        what = f"contains no document ({found.ignored:,} files in other formats)"
        what = what if stat.S_ISDIR(mode) else "has an unsupported format"
        raise SmoothCSEError(f"{root} {what}: supported are {DOCUMENT_FORMATS}.")
    return found


def _scan(root: Path) -> DocumentFiles:
    count, tables, ignored, examples, digest = 0, 0, 0, [], xxhash.xxh3_128()
    for file in _candidates(root):
        if _is_document(file):
            count += 1
            tables += file.format in TABLES
            status = file.path.stat()
            # st_ctime_ns: a file that could not be read changes in nothing else when its permissions do.
            stamp = (os.path.abspath(file.path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            digest.update(repr(stamp).encode("utf-8", "surrogateescape"))
            continue
        ignored += 1
        if ignored <= _SHOWN:
            examples.append(shown_path(os.path.relpath(file.path, root)))
    return DocumentFiles(root, count, tables, digest.hexdigest(), ignored, tuple(examples))


def _candidates(root: Path) -> Iterator[TextFile]:
    paths = walk_files(root) if root.is_dir() else iter((root,))
    return (TextFile(path, shown_path(path)) for path in paths)


def _is_document(file: TextFile) -> bool:
    return file.format in _FORMATS and not (file.compression and file.format in _UNCOMPRESSED)
