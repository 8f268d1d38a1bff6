"""A worker of a bulk encoding."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.bulk.encode_file import CHUNK
from smoothcse.bulk.ray.job import Job
from smoothcse.bulk.ray.shards import Shard, leftovers, read_rows, write_rows
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError

ATTEMPTS = 3
"""Number of workers that may die on a shard before the job fails; Ray itself would retry for ever."""

OUTCOME = pa.schema({"rows": pa.int64(), "error": pa.string()})
"""Schema of a worker's report on a shard."""


class ShardEncoder:
    """A worker, which loads the model once and then encodes shard after shard into files.

    Args:
        job: Settings of the job.
        batch_size: Sentences per forward pass; None suits the device.
        threads: Number of torch's threads.
        gpus: GPUs of this worker, 0 or 1.
    """

    def __init__(self, job: Job, batch_size: int | None, threads: int, gpus: int) -> None:
        quiet_libraries()
        torch.set_num_threads(threads)
        self.job, self.batch_size = job, batch_size
        self.model = load_encoder(job.model, job.pooling, device="cuda" if gpus else "cpu")  # type: ignore[arg-type]
        self.has_other_model = fingerprint(self.model) != job.fingerprint

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Encode the shards described by a table's rows. A :class:`SmoothCSEError` is returned as a value."""
        return pa.Table.from_pylist([self._attempt(Shard(**row)) for row in batch.to_pylist()], schema=OUTCOME)

    def _attempt(self, shard: Shard) -> dict[str, Any]:
        try:
            if self.has_other_model:
                raise SmoothCSEError(
                    f"The node {os.uname().nodename} has a different model under the name {self.job.model}; copy the "
                    "same model to every node."
                )
            if len(leftovers(Path(shard.target))) >= ATTEMPTS:
                raise SmoothCSEError(
                    f"{ATTEMPTS} workers died on rows {shard.first:,} to {shard.first + shard.rows - 1:,} of "
                    f"{shard.source}; give the workers more memory, or a smaller batch size."
                )
            return {"rows": write_rows(shard, self._encoded(shard)), "error": None}
        except SmoothCSEError as error:
            return {"rows": 0, "error": str(error)}

    def _encoded(self, shard: Shard) -> Iterator[pa.Table]:
        job = self.job
        for table in read_rows(shard, list(dict.fromkeys([*job.columns, job.column])), CHUNK):
            sentences = table[job.column].fill_null("").to_pylist()
            embeddings = encode(
                self.model,
                sentences,
                job.input_type,  # type: ignore[arg-type]
                prompt=job.prompt or "",
                batch_size=self.batch_size,
                precision=job.precision,  # type: ignore[arg-type]
                normalize=job.normalize,
            )
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), embeddings.shape[1])
            yield table.select(job.columns).append_column("embedding", vectors)
