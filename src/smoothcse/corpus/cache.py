"""Disk cache of cleaned text, shared by all processes.

An entry consists of ``<key>.arrow`` and ``<key>.json`` under ``$SMOOTHCSE_CACHE/corpus`` (default
``~/.cache/smoothcse/corpus``); the token ids computed from it are stored beside it as ``cache-*.arrow``. Files are
never changed in place, so any of them may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import pyarrow as pa
import xxhash

from smoothcse._utils.cache import cache_folder
from smoothcse.errors import SmoothCSEError

FORMAT_VERSION = 2  # increment when the same text and options give other sentences or another report


class CachedReport(Protocol):
    """Report of a corpus that can be stored."""

    @property
    def kept(self) -> int:
        """Rows of the corpus."""

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Restore a report from the result of :meth:`as_dict`."""


Report = TypeVar("Report", bound=CachedReport)


def cached(parts: Sequence[object], kind: type[Report], build: Callable[[Path], Report]) -> tuple[Path, Report]:
    """Return the cache entry of a source and options; build it if it is missing or damaged.

    Args:
        parts: Everything on which the entry depends, as plain JSON types: identity of the files, options, versions.
        kind: Class of the report.
        build: Function that writes the Arrow file whose path it is given, and returns the report.

    Returns:
        Arrow file and report.

    Raises:
        SmoothCSEError: If the cache folder cannot be written, or ``build`` fails.
    """
    folder = cache_folder() / "corpus"
    arrow = folder / f"{_key(parts)}.arrow"
    report = _read_report(arrow, kind)
    if report is None:
        try:
            report = _store(folder, arrow, build)
        except OSError as error:
            raise SmoothCSEError(
                f"The cache folder {folder} cannot be written ({error.strerror or error}): "
                "set the environment variable SMOOTHCSE_CACHE to a folder with free space."
            ) from error
    return arrow, report


def _key(parts: Sequence[object]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps([FORMAT_VERSION, *parts]).encode())


def _read_report(arrow: Path, kind: type[Report]) -> Report | None:
    """Return the report of a complete entry; None if the entry is missing or damaged."""
    try:
        report = kind.from_dict(json.loads(arrow.with_suffix(".json").read_text(encoding="utf-8")))
        with pa.memory_map(str(arrow)) as file, pa.ipc.open_stream(file) as reader:
            rows = sum(batch.num_rows for batch in reader)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return report if rows == report.kept else None


def _store(folder: Path, arrow: Path, build: Callable[[Path], Report]) -> Report:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as scratch:
        new = Path(scratch, arrow.name)
        report = build(new)
        new.with_suffix(".json").write_text(json.dumps(report.as_dict()), encoding="utf-8")
        # The report is moved last, so that it implies the sentences. Two processes that race write the same bytes.
        os.replace(new, arrow)
        os.replace(new.with_suffix(".json"), arrow.with_suffix(".json"))
    return report
