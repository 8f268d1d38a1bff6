"""Where indexes are: which folders hold one, and where an adaptation keeps its own."""

from __future__ import annotations

from pathlib import Path

RECORD = "index.json"
"""Name of the file that describes an index; a folder that holds it is an index."""

ADAPTED_INDEX = "documents.index"
"""Folder of the index that ``smoothcse adapt`` builds in its output folder."""


def is_index(path: Path) -> bool:
    """Return whether a folder holds an index."""
    return (path / RECORD).is_file()


def own_index(folder: Path) -> Path | None:
    """Return the index that an adaptation built in its output folder, or None.

    Args:
        folder: Output folder of ``smoothcse adapt``, or any other folder.
    """
    path = folder / ADAPTED_INDEX
    return path if is_index(path) else None
