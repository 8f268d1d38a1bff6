"""Disk cache of cleaned text, shared by all processes.

An entry consists of ``<key>.arrow`` and ``<key>.json`` under ``$SMOOTHCSE_CACHE/corpus`` (default
``~/.cache/smoothcse/corpus``); the token ids computed from it are stored beside it as ``cache-*.arrow``. Files are
never changed in place, so any of them may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import xxhash

from smoothcse._utils.cache import cache_folder
from smoothcse.corpus.corpus_report import CorpusReport
from smoothcse.corpus.pipeline import CorpusOptions
from smoothcse.corpus.sources import Source
from smoothcse.errors import SmoothCSEError

FORMAT_VERSION = 2  # increment when the same text and options give other sentences or another report

Builder = Callable[[Path], CorpusReport]


def cached(source: Source, options: CorpusOptions, build: Builder) -> tuple[Path, CorpusReport]:
    """Return the cache entry of a source and options; build it if it is missing or damaged.

    Args:
        source: Source of the text.
        options: Columns, length limits and sample size.
        build: Function that writes the Arrow file whose path it is given, and returns the report.

    Returns:
        Arrow file and report.

    Raises:
        SmoothCSEError: If the cache folder cannot be written, or ``build`` fails.
    """
    folder = cache_folder() / "corpus"
    arrow = folder / f"{_key(source, options)}.arrow"
    report = _read_report(arrow)
    if report is None:
        try:
            report = _store(folder, arrow, build)
        except OSError as error:
            raise SmoothCSEError(
                f"The cache folder {folder} cannot be written ({error.strerror or error}): "
                "set the environment variable SMOOTHCSE_CACHE to a folder with free space."
            ) from error
    return arrow, report


def _key(source: Source, options: CorpusOptions) -> str:
    parts = [FORMAT_VERSION, source.identity(), list(source.notes), asdict(options)]
    return xxhash.xxh3_128_hexdigest(json.dumps(parts).encode())


def _read_report(arrow: Path) -> CorpusReport | None:
    """Return the report of a complete entry; None if the entry is missing or damaged."""
    try:
        report = CorpusReport.from_dict(json.loads(arrow.with_suffix(".json").read_text(encoding="utf-8")))
        with pa.memory_map(str(arrow)) as file, pa.ipc.open_stream(file) as reader:
            rows = sum(batch.num_rows for batch in reader)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return report if rows == report.kept else None


def _store(folder: Path, arrow: Path, build: Builder) -> CorpusReport:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as scratch:
        new = Path(scratch, arrow.name)
        report = build(new)
        new.with_suffix(".json").write_text(json.dumps(report.as_dict()), encoding="utf-8")
        # The report is moved last, so that it implies the sentences. Two processes that race write the same bytes.
        os.replace(new, arrow)
        os.replace(new.with_suffix(".json"), arrow.with_suffix(".json"))
    return report
