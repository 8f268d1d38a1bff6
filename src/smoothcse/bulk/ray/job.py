"""What all shards of a job share: the model and how it is used. Its record refuses to mix two of them."""

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

from smoothcse.bulk.ray.shards import Shard, new_file
from smoothcse.corpus.text_columns import choose_column
from smoothcse.errors import SmoothCSEError, did_you_mean

MANIFEST = "_manifest.json"
"""Arrow, Spark and Ray pass over names that begin with an underscore when they read a folder."""


@dataclass(frozen=True)
class Job:
    """What decides the contents of the output.

    Attributes:
        model: as the user named it; two names of one model are one job.
        pooling: in place of the model's own, or None.
        fingerprint: of the model as loaded, see :func:`~smoothcse.encoders.fingerprint.fingerprint`.
        precision: ``fp32`` or ``bf16``, never ``auto``: half of the rows in each would be no one's wish.
        normalize: whether embeddings have length 1.
        column: that is encoded.
        columns: that are copied beside the embedding.
        rows_per_shard: decides which rows a shard's number stands for.
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
    """Return the column to encode and those to copy, and check that every file has them with equal types.

    Args:
        files: Parquet files.
        column: the user's choice; None as in :func:`~smoothcse.corpus.text_columns.choose_column`.
        keep: columns to copy; none for the encoded one.

    Raises:
        SmoothCSEError: naming the first file that lacks one or has it with another type.
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
                raise SmoothCSEError(f"{file}: column {name!r} is {kind}, in the files before it {types[name]}.")
    assert column is not None
    if "embedding" in kept or column == "embedding":
        raise SmoothCSEError("A column named 'embedding' cannot be kept: that is the name of the result.")
    return column, kept or [column]


def open_job(job: Job, output: Path, shards: Iterable[Shard]) -> None:
    """Record a new job in its output folder, or check that the one recorded there is the same.

    Raises:
        SmoothCSEError: if another job or something else has written there.
    """
    present = {str(path) for path in output.rglob("*.parquet")}
    manifest = output / MANIFEST
    if manifest.is_file():
        _check_same(asdict(job), _read(manifest), output)
    elif present:
        raise SmoothCSEError(f"{output} holds Parquet files and no {MANIFEST}; give an empty or a new folder.")
    else:
        with new_file(manifest) as file:
            file.write((json.dumps(asdict(job), indent=2) + "\n").encode())
    strangers = sorted(present - {shard.target for shard in shards})
    if strangers:
        raise SmoothCSEError(
            f"{strangers[0]} belongs to no file of the input; put the file back, or delete its embeddings."
        )


@contextmanager
def only_writer(output: Path) -> Iterator[None]:
    """Refuse a second driver on the same output; the lock goes with the process that holds it.

    Raises:
        SmoothCSEError: if there is one, or the folder cannot be made.
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
        f"{name} ({recorded.get(name)!r} then, {job[name]!r} now)"
        for name in job
        if name not in ("model", "pooling") and recorded.get(name) != job[name]
    ]
    if changed:
        raise SmoothCSEError(
            f"{output} holds embeddings of {recorded.get('model')} made otherwise; changed: {', '.join(changed)}. "
            "Repeat the options of then, or give another folder."
        )


def _read(manifest: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(manifest.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SmoothCSEError(f"{manifest} cannot be read as the record of a job: {error}.") from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
