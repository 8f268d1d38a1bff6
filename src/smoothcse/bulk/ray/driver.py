"""Bulk encoding on Ray, from Parquet to Parquet, exactly once per row, on one or many machines.

Only *descriptions* of shards pass through Ray Data. Each worker of its actor pool reads the rows of a shard in chunks
and writes the shard's file itself. Ray places the workers, assigns a worker its next shard when it is free, and
repeats the shard of a worker that died.

The obvious alternative, ``read_parquet().map_batches().write_parquet()`` with Ray's checkpoints, does not guarantee
this. Ray retries failed blocks, so that a block is written *at least* once, and the names of its files begin with a
random number that differs between jobs. Its ``CheckpointConfig`` solves this for a resumed job, but needs a column of
unique ids in the input, loads the ids of all finished rows into memory (8 GB for a billion integers), and does not
record the model. Here the name of a shard's file depends only on the input, and the file appears complete or not at
all. A shard that is written twice replaces itself, so no further bookkeeping is needed.

Memory is bounded as well: a worker holds the model and one chunk of rows, no row enters Ray's object store, and a slow
disk delays only the worker that writes to it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from smoothcse._utils.choices import InputType, PoolingName, Precision
from smoothcse._utils.extras import extra
from smoothcse._utils.progress import progress_bar
from smoothcse.bulk.ray.job import Job, choose_columns, only_writer, open_job
from smoothcse.bulk.ray.shards import Shard, input_files, is_finished, plan_shards
from smoothcse.bulk.ray.worker import ShardEncoder
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.precision import check_precision, precision_notice, resolve_precision
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError, first_line

ROWS_PER_SHARD = 131_072
"""Default rows per shard: 192 MiB of embeddings with 384 float32 each. A worker that dies loses at most one shard."""


def encode_on_ray(
    model: str,
    source: Path,
    output: Path,
    input_type: InputType | None = None,
    *,
    pooling: PoolingName | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
    column: str | None = None,
    keep: Sequence[str] = (),
    batch_size: int | None = None,
    precision: Precision = "auto",
    normalize: bool = False,
    rows_per_shard: int = ROWS_PER_SHARD,
    cpus_per_worker: int = 1,
    console: Console | None = None,
) -> int:
    """Encode a column of Parquet files on a Ray cluster.

    A second call with the same arguments resumes a stopped job: finished shards are skipped, and files added to the
    input are encoded. A Ray session of the caller is used and left running. Otherwise the function connects to the
    cluster in ``RAY_ADDRESS`` or on this machine, or starts one for the job.

    Args:
        model: Run folder, model folder or hub name, which every node can load.
        source: Parquet file or folder of Parquet files, on a file system that every node can read.
        output: Folder of the results, on a file system that every node can write to. Each shard becomes a Parquet file
            with the kept columns and ``embedding``, a fixed-size list of d float32, in the order of the input.
        input_type: As in :func:`~smoothcse.encoders.inference.encode`.
        pooling: Pooling that replaces the model's own.
        prompt_name: As in :func:`~smoothcse.encoders.inference.encode`.
        prompt: As in :func:`~smoothcse.encoders.inference.encode`.
        column: Column to encode. None (default) chooses ``sentence``, else ``text``, else the only column of text.
            Missing values are encoded as empty sentences, so that no row is lost.
        keep: Columns to copy beside the embedding. Default: the encoded column.
        batch_size: Sentences per forward pass; None (default) suits the device.
        precision: As in :func:`~smoothcse.encoders.inference.encode`; a worker resolves ``"auto"`` once for all.
        normalize: Whether to scale each embedding to length 1.
        rows_per_shard: Maximum rows of an output file. Default 131,072.
        cpus_per_worker: Threads of each worker. Default 1, which gives one worker per CPU of the cluster. A cluster
            with GPUs has one worker per GPU.
        console: Console for the progress bar; None uses standard error.

    Returns:
        Number of rows in the finished output.

    Raises:
        SmoothCSEError: If Ray is not installed or not reachable, the model or the input cannot be used, the output
            belongs to another job, or a shard failed. Finished shards are kept.
    """
    check_precision(precision, "encode")
    ray = _import_ray()
    _check_apart(source, output)
    source, output = source.absolute(), output.absolute()  # workers may run in another folder
    shards = plan_shards(source, output, rows_per_shard)
    column, columns = choose_columns(input_files(source), column, keep)
    encoder = load_encoder(model, pooling, device="cpu")
    prompt = prompt_of(encoder, input_type, prompt_name=prompt_name, prompt=prompt)
    model_fingerprint = fingerprint(encoder)
    with only_writer(output), _session(ray):
        workers, gpus = _workers(ray, cpus_per_worker)
        resolved = _resolved(ray, precision, gpus)
        job = Job(
            model=model,
            pooling=pooling,
            fingerprint=model_fingerprint,
            precision=resolved,
            input_type=input_type,
            prompt=prompt or None,  # None in the records of jobs that are older than this option
            normalize=normalize,
            column=column,
            columns=columns,
            rows_per_shard=rows_per_shard,
        )
        open_job(job, output, shards)
        (console or Console(stderr=True)).print(precision_notice(precision, resolved))
        _remove_leftovers(output)  # of a job that was killed
        found = replace(job, model=str(Path(model).absolute()) if Path(model).is_dir() else model)
        worker = {"job": found, "batch_size": batch_size, "threads": cpus_per_worker, "gpus": gpus}
        try:
            _encode_shards(ray, shards, worker, workers, console)
        finally:
            _remove_leftovers(output)
    missing = [shard.target for shard in shards if not is_finished(shard)]
    if missing:
        raise SmoothCSEError(f"{missing[0]} was removed after it had been written; start the job again to restore it.")
    return sum(shard.rows for shard in shards)


def _encode_shards(
    ray: Any, shards: list[Shard], worker: dict[str, Any], workers: int, console: Console | None
) -> None:
    """Encode the shards that are not finished."""
    left = [shard for shard in shards if not is_finished(shard)]
    total, to_do = (sum(shard.rows for shard in some) for some in (shards, left))
    with progress_bar(console, unit="rows") as bar:
        task = bar.add_task("encoding", total=total, completed=total - to_do)
        for rows in _outcomes(ray, left, worker, min(workers, len(left))) if left else ():
            bar.advance(task, rows)


def _outcomes(ray: Any, shards: list[Shard], worker: dict[str, Any], workers: int) -> Iterator[int]:
    """Yield the number of rows of each shard once its file is complete, in the order of completion."""
    descriptions = ray.data.from_items([asdict(shard) for shard in shards], override_num_blocks=len(shards))
    outcomes = descriptions.map_batches(
        ShardEncoder,
        fn_constructor_kwargs=worker,
        batch_size=1,
        batch_format="pyarrow",
        # With a minimum of one worker, idle workers can end and make room for one that lost its node. With one task in
        # flight per worker, no shard waits for a busy worker while another one is free.
        compute=ray.data.ActorPoolStrategy(
            min_size=1, initial_size=workers, max_size=workers, max_tasks_in_flight_per_actor=1
        ),
        num_cpus=worker["threads"],
        num_gpus=worker["gpus"],
    )
    try:
        for outcome in outcomes.iter_rows():
            if outcome["error"]:
                raise SmoothCSEError(outcome["error"])
            yield outcome["rows"]
    except ray.exceptions.RayError as error:
        raise SmoothCSEError(
            f"Ray aborted the job ({first_line(error)}); finished shards are kept, run the same command to resume."
        ) from error


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    with extra("ray", "The engine ray"):
        import ray
        import ray.data
    return ray


@contextmanager
def _session(ray: Any) -> Iterator[None]:
    """Use the caller's Ray session, or open one for the duration of the job."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, bars = False, context.enable_progress_bars
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    own = not ray.is_initialized()
    if own:
        _start(ray)
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        if own:
            ray.shutdown()


def _start(ray: Any) -> None:
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise SmoothCSEError(
            f"The Ray cluster cannot be reached ({first_line(error)}); check RAY_ADDRESS, or unset it."
        ) from error


def _workers(ray: Any, cpus_per_worker: int) -> tuple[int, int]:
    """Return the number of workers that fit into the cluster, and the GPUs of each (0 or 1)."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = ([int(node.get(kind, 0)) for node in nodes] for kind in ("CPU", "GPU"))
    fitting = [count // cpus_per_worker for count in cpus]
    workers = sum(map(min, fitting, gpus)) if any(gpus) else sum(fitting)
    if not workers:
        raise SmoothCSEError(
            f"No worker with {cpus_per_worker} CPUs fits on a node of the cluster, the largest of which has "
            f"{max(cpus, default=0)}; give workers fewer CPUs."
        )
    return workers, int(any(gpus))


def _resolved(ray: Any, precision: Precision, gpus: int) -> Precision:
    """Let a worker resolve ``auto``, since the driver may run on different hardware."""
    ask = ray.remote(num_cpus=1, num_gpus=gpus)(resolve_precision)
    resolved: Precision = ray.get(ask.remote(precision, "encode", "cuda" if gpus else "cpu"))
    return resolved


def _check_apart(source: Path, output: Path) -> None:
    if source.resolve() in (output.resolve(), *output.resolve().parents):
        raise SmoothCSEError(f"{output} is inside the input {source} and would be read again; give another folder.")


def _remove_leftovers(output: Path) -> None:
    """Delete the temporary files of killed workers. The caller holds the lock, so no other job writes here."""
    for file in output.rglob(".*.parquet.*.new"):  # as `open_atomic` names them; other files are the user's
        file.unlink(missing_ok=True)
