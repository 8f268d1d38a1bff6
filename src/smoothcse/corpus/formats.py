"""File formats and compressions, recognised by the file name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FORMATS = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
SUPPORTED = f"{', '.join(FORMATS)} (the text ones also with {' or '.join(COMPRESSIONS)})"

# Documents, which are read by smoothcse.corpus.documents only.
MARKUP = frozenset({".html", ".htm", ".md", ".markdown"})
BINARY = frozenset({".pdf", ".docx"})


@dataclass(frozen=True)
class TextFile:
    """A file of text in a supported format.

    Attributes:
        path: Path on this machine.
        label: Name in messages: the path as the user wrote it, or ``owner/name:file`` for the hub.
        sha256: Digest that the hub published for the file, or None.
    """

    path: Path
    label: str
    sha256: str | None = None

    @property
    def format(self) -> str:
        """Suffix of the format, such as ``.jsonl``."""
        return _suffixes(self.path.name)[0]

    @property
    def compression(self) -> str | None:
        """Name of the compression in Arrow, or None."""
        return COMPRESSIONS.get(_suffixes(self.path.name)[1])


def is_supported(name: str) -> bool:
    """Return whether a file of this name has a supported format."""
    suffix, packing = _suffixes(name)
    return suffix in FORMATS and not (suffix == ".parquet" and packing)


def is_document(name: str) -> bool:
    """Return whether a file of this name is a document with pages or markup, rather than lines or rows of text."""
    return _suffixes(name)[0] in MARKUP | BINARY


def _suffixes(name: str) -> tuple[str, str]:
    """Split ``train.jsonl.gz`` into ``(".jsonl", ".gz")``; the second suffix is empty for an uncompressed file."""
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSIONS:
        return PurePosixPath(path.stem).suffix, path.suffix
    return path.suffix, ""
