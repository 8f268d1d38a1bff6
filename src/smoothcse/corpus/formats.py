"""What a file is, told by its name alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FORMATS = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
SUPPORTED = f"{', '.join(FORMATS)} (the text ones also with {' or '.join(COMPRESSIONS)})"


@dataclass(frozen=True)
class TextFile:
    """One file of sentences.

    Attributes:
        path: Where it lies on this machine.
        label: What messages call it: the path as the user wrote it, or ``owner/name:file`` for the hub.
        sha256: The digest that the hub promised, where it promised one.
    """

    path: Path
    label: str
    sha256: str | None = None

    @property
    def format(self) -> str:
        """The suffix that says how to read it, such as ``.jsonl``."""
        return _suffixes(self.path.name)[0]

    @property
    def compression(self) -> str | None:
        """Arrow's name of the compression, or None."""
        return COMPRESSIONS.get(_suffixes(self.path.name)[1])


def is_supported(name: str) -> bool:
    """Whether a reader exists for a file of this name."""
    suffix, packing = _suffixes(name)
    return suffix in FORMATS and not (suffix == ".parquet" and packing)


def _suffixes(name: str) -> tuple[str, str]:
    """Split ``train.jsonl.gz`` into ``(".jsonl", ".gz")``; the second is empty for an uncompressed file."""
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSIONS:
        return PurePosixPath(path.stem).suffix, path.suffix
    return path.suffix, ""
