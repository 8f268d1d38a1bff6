"""Cleaned text on disk, so that it is cleaned once and shared by all processes.

An entry is two files, ``<key>.arrow`` and ``<key>.json``, under ``$SMOOTHCSE_CACHE/corpus`` (default
``~/.cache/smoothcse/corpus``); the token ids made of it lie beside it as ``cache-*.arrow``. Nothing is ever changed in
place, so any of it may be deleted at any time.
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
from smoothcse.corpus.pipeline import Options
from smoothcse.corpus.sources import Source
from smoothcse.errors import SmoothCSEError

FORMAT_VERSION = 2  # raise it whenever the same text and options would give other sentences or another report

Builder = Callable[[Path], CorpusReport]


def cached(source: Source, options: Options, build: Builder) -> tuple[Path, CorpusReport]:
    """Return the entry for a source and options, building it if it is not there.

    Args:
        source: The text.
        options: What is kept of it.
        build: Writes the Arrow file it is given and returns the report.

    Returns:
        The Arrow file and its report.

    Raises:
        SmoothCSEError: When the folder cannot be written; also whatever ``build`` raises.
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
                "set the variable SMOOTHCSE_CACHE to a folder with room."
            ) from error
    return arrow, report


def _key(source: Source, options: Options) -> str:
    parts = [FORMAT_VERSION, source.identity(), list(source.notes), asdict(options)]
    return xxhash.xxh3_128_hexdigest(json.dumps(parts).encode())


def _read_report(arrow: Path) -> CorpusReport | None:
    """Read the report of a whole entry; None for one that is missing or was damaged."""
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
        # The report comes last: where it is, the sentences are. Two processes that race write the same bytes.
        os.replace(new, arrow)
        os.replace(new.with_suffix(".json"), arrow.with_suffix(".json"))
    return report
