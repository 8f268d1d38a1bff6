"""Bulk encoding on Ray: Parquet in, Parquet out, exactly once per row, on one machine or many.

What travels through Ray Data are *descriptions* of shards; each worker of its actor pool reads the rows of a shard
itself, chunk by chunk, and writes the shard's file itself. Ray places the workers, hands each its next shard only when
it is free, and repeats the shard of a worker that died.

Why not ``read_parquet().map_batches().write_parquet()`` with Ray's own checkpoints? Ray repeats what failed, so a
block is written *at least* once, and the names of the files it writes begin with a random number that differs in each
job. Its ``CheckpointConfig`` mends that for a resumed job, but wants a unique column of ids in the input, loads the
ids of all finished rows into memory (8 GB for a billion integers), and knows nothing of the model that made them. Here
the name of a shard's file follows from the input alone and the file appears whole or not at all, so doing a shard
twice, on purpose or not, leaves its rows there once. There is nothing else to keep account of.

It is also why memory stays bounded: a worker holds one chunk of rows and the model, no row enters Ray's object store,
and a slow disk holds up the worker that waits for it, nobody else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from smoothcse._utils.choices import InputType, PoolingName, Precision
from smoothcse._utils.extras import extra
from smoothcse.bulk.ray.job import Job, choose_columns, only_writer, open_job
from smoothcse.bulk.ray.shards import Shard, input_files, is_finished, plan_shards
from smoothcse.bulk.ray.worker import ShardEncoder
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.precision import check_precision, precision_notice, resolve_precision
from smoothcse.encoders.prompts import prompt_of
from smoothcse.errors import SmoothCSEError, first_line

ROWS_PER_SHARD = 131_072
"""Rows of a shard by default: 192 MiB at 384 float32 each; a shard is lost at most when a worker dies."""


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

    Called again with the same arguments it goes on where it was stopped: shards whose file is there are skipped. Files
    may have been added to the input since. A Ray session of the caller is used and left running; otherwise the cluster
    that ``RAY_ADDRESS`` names, or the one that runs on this machine, or one started here for the job.

    Args:
        model: a run folder, a model folder or a hub name that every node can load.
        source: Parquet file, or folder of them, on a file system that every node sees.
        output: folder of the results, likewise. Each shard becomes a Parquet file of the kept columns and
            ``embedding``, a fixed-size list of d float32, its rows in the order of the input.
        input_type: As in :func:`~smoothcse.encoders.inference.encode`, like ``prompt_name`` and ``prompt``.
        pooling: in place of the model's own.
        prompt_name: Name of one of the model's prompts.
        prompt: Prompt to use instead of one of the model's.
        column: to encode; None for ``sentence``, else ``text``, else the only column of text. Missing values are
            encoded as empty sentences, so that no row is lost.
        keep: columns to copy beside the embedding; none for the encoded one.
        batch_size: sentences per forward; None for what suits the device.
        precision: as in :func:`~smoothcse.encoders.inference.encode`; one worker is asked,
            once, what ``"auto"`` means.
        normalize: whether to scale each embedding to length 1.
        rows_per_shard: at most this many rows in a file of the output. Default 131,072.
        cpus_per_worker: threads of each worker. Default 1, which gives one worker per CPU of the cluster; where it has
            GPUs, there is one worker per GPU.
        console: where the progress is drawn; None for standard error.

    Returns:
        Number of rows in the finished output.

    Raises:
        SmoothCSEError: if Ray is missing or unreachable, the model or the input cannot be used, the output belongs to
            another job, or a shard could not be made. Shards finished before stay.
    """
    check_precision(precision, "encode")
    ray = _import_ray()
    _check_apart(source, output)
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
            prompt=prompt or None,  # as in the records of jobs before there was a choice
            normalize=normalize,
            column=column,
            columns=columns,
            rows_per_shard=rows_per_shard,
        )
        open_job(job, output, shards)
        (console or Console(stderr=True)).print(precision_notice(precision, resolved))
        _remove_leftovers(output)  # a job killed at once had no time to
        worker = {"job": job, "batch_size": batch_size, "threads": cpus_per_worker, "gpus": gpus}
        try:
            _encode_shards(ray, shards, worker, workers, console)
        finally:
            _remove_leftovers(output)
    missing = [shard.target for shard in shards if not is_finished(shard)]
    if missing:
        raise SmoothCSEError(f"{missing[0]} has gone since it was written; start the job again to have it made anew.")
    return sum(shard.rows for shard in shards)


def _encode_shards(
    ray: Any, shards: list[Shard], worker: dict[str, Any], workers: int, console: Console | None
) -> None:
    """Make the shards that are not there yet."""
    left = [shard for shard in shards if not is_finished(shard)]
    total, to_do = (sum(shard.rows for shard in some) for some in (shards, left))
    with _progress(console) as bar:
        task = bar.add_task("rows", total=total, completed=total - to_do)
        for rows in _outcomes(ray, left, worker, min(workers, len(left))) if left else ():
            bar.advance(task, rows)


def _outcomes(ray: Any, shards: list[Shard], worker: dict[str, Any], workers: int) -> Iterator[int]:
    """Yield the rows of each shard when its file is there, in whatever order that happens."""
    descriptions = ray.data.from_items([asdict(shard) for shard in shards], override_num_blocks=len(shards))
    outcomes = descriptions.map_batches(
        ShardEncoder,
        fn_constructor_kwargs=worker,
        batch_size=1,
        batch_format="pyarrow",
        # Workers beyond the first may end early, which makes room for one that has lost its node; no shard waits in
        # the queue of a busy worker while another one is free.
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
            f"Ray gave the job up ({first_line(error)}); finished shards are kept, the same command goes on from them."
        ) from error


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report each run to its makers
    with extra("ray", "The engine ray"):
        import ray
        import ray.data
    return ray


@contextmanager
def _session(ray: Any) -> Iterator[None]:
    """Use the caller's session, or open one for the length of the job."""
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
    """Return how many workers fit into the cluster, and the GPUs of each (0 or 1)."""
    resources = ray.cluster_resources()
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    workers = min(gpus, cpus // cpus_per_worker) if gpus else cpus // cpus_per_worker
    if not workers:
        raise SmoothCSEError(f"No worker of {cpus_per_worker} CPUs fits into the cluster, which has {cpus} of them.")
    return workers, min(gpus, 1)


def _resolved(ray: Any, precision: Precision, gpus: int) -> Precision:
    """Let one worker say what ``auto`` is: the driver's machine may be of another kind."""
    ask = ray.remote(num_cpus=1, num_gpus=gpus)(resolve_precision)
    resolved: Precision = ray.get(ask.remote(precision, "encode", "cuda" if gpus else "cpu"))
    return resolved


def _check_apart(source: Path, output: Path) -> None:
    if source.resolve() in (output.resolve(), *output.resolve().parents):
        raise SmoothCSEError(f"{output} lies in the input {source} and would be read again; give another folder.")


def _remove_leftovers(output: Path) -> None:
    """Delete what killed workers left behind; nobody else writes here while we hold the lock."""
    for file in output.rglob("*.new"):
        file.unlink(missing_ok=True)


def _progress(console: Console | None) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
    )
