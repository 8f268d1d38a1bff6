"""The job: settings that all shards share, recorded in the output so that two jobs cannot be mixed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from smoothcse._utils.atomic import explain_unwritable, write_text_atomic
from smoothcse.bulk.ray.shards import Shard
from smoothcse.corpus.text_columns import choose_column
from smoothcse.errors import SmoothCSEError, did_you_mean

MANIFEST = "_manifest.json"
"""Name of the record. Arrow, Spark and Ray ignore names with a leading underscore when they read a folder."""


@dataclass(frozen=True)
class Job:
    """Settings that determine the contents of the output.

    Attributes:
        model: Model as the user named it. Two names of the same model are the same job.
        pooling: Pooling that replaces the model's own, or None.
        fingerprint: Fingerprint of the loaded model, see :func:`~smoothcse.encoders.fingerprint.fingerprint`.
        precision: ``fp32`` or ``bf16``. ``auto`` is resolved, so that all rows have the same precision.
        normalize: Whether embeddings have length 1.
        column: Column to encode.
        columns: Columns copied beside the embedding.
        rows_per_shard: Maximum rows of a shard, which determines the rows of each shard number.
        input_type: As in :func:`~smoothcse.encoders.inference.encode`.
        prompt: Text in front of each sentence, or None.
    """

    model: str
    pooling: str | None
    fingerprint: str
    precision: str
    normalize: bool
    column: str
    columns: list[str]
    rows_per_shard: int
    input_type: str | None = None
    prompt: str | None = None


def choose_columns(files: Iterable[Path], column: str | None, keep: Iterable[str]) -> tuple[str, list[str]]:
    """Choose the column to encode and the columns to copy, and check that all files have them with equal types.

    Args:
        files: Parquet files.
        column: Requested column; None as in :func:`~smoothcse.corpus.text_columns.choose_column`.
        keep: Columns to copy; empty for the encoded column.

    Returns:
        Column to encode and columns to copy.

    Raises:
        SmoothCSEError: If a file lacks a column or has it with another type.
    """
    kept = list(dict.fromkeys(keep))
    types: dict[str, pa.DataType] = {}
    for file in files:
        schema = pq.read_schema(file)
        texts = [field.name for field in schema if _is_text(field.type)]
        column = choose_column(str(file), schema.names, texts, column)
        for name in kept or [column]:
            if name not in schema.names:
                raise SmoothCSEError(f"{file} has no column {name!r} to keep.{did_you_mean(name, schema.names)}")
            kind = schema.field(name).type
            if types.setdefault(name, kind) != kind:
                raise SmoothCSEError(
                    f"{file}: column {name!r} has the type {kind}, in the files before it {types[name]}; convert it."
                )
    assert column is not None
    if "embedding" in kept or column == "embedding":
        raise SmoothCSEError("A column named 'embedding' cannot be kept: the result has this name; rename it.")
    return column, kept or [column]


def open_job(job: Job, output: Path, shards: Iterable[Shard]) -> None:
    """Record a new job in its output folder, or check that the recorded job is the same.

    Args:
        job: Job to open.
        output: Output folder.
        shards: All shards of the job.

    Raises:
        SmoothCSEError: If the folder contains the output of another job or other Parquet files.
    """
    present = {str(path) for path in output.rglob("*.parquet")}
    manifest = output / MANIFEST
    if manifest.is_file():
        _check_same(asdict(job), _read(manifest), output)
    elif present:
        raise SmoothCSEError(f"{output} contains Parquet files but no {MANIFEST}; give an empty or a new folder.")
    else:
        with explain_unwritable(manifest):
            write_text_atomic(manifest, json.dumps(asdict(job), indent=2) + "\n")
    strangers = sorted(present - {shard.target for shard in shards})
    if strangers:
        raise SmoothCSEError(
            f"{strangers[0]} belongs to no file of the input; restore the input file, or delete its embeddings."
        )


@contextmanager
def only_writer(output: Path) -> Iterator[None]:
    """Lock an output folder against other drivers. The lock ends with the process that holds it.

    Args:
        output: Output folder, created if it does not exist.

    Raises:
        SmoothCSEError: If another driver holds the lock, or the folder cannot be created.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = FileLock(output / ".lock")
        with lock.acquire(timeout=0):
            yield
    except Timeout as error:
        raise SmoothCSEError(f"Another job is writing to {output}; wait for it, or give another folder.") from error
    except OSError as error:
        raise SmoothCSEError(f"The output folder {output} cannot be used: {error.strerror or error}.") from error


def _check_same(job: dict[str, Any], recorded: dict[str, Any], output: Path) -> None:
    changed = [
        f"{name} ({recorded.get(name)!r} before, {job[name]!r} now)"
        for name in job
        if name not in ("model", "pooling") and recorded.get(name) != job[name]
    ]
    if changed:
        raise SmoothCSEError(
            f"{output} contains embeddings of {recorded.get('model')} with other settings: {', '.join(changed)}. "
            "Use the same settings as before, or give another folder."
        )


def _read(manifest: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(manifest.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SmoothCSEError(
            f"{manifest} cannot be read as the record of a job ({error}); give another folder."
        ) from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
