"""Training on several devices: run the same command once per device under torchrun."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import yaml
from torch import distributed
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args
from torch.distributed.run import run as torchrun

from smoothcse.errors import FAILURE_FILE, SmoothCSEError, Stopped
from smoothcse.runs.config import TrainConfig

_PROCESSES_PER_CORE = 4  # limit for ranks on the CPU; more only use up memory


def is_main_process() -> bool:
    """Return whether this process is the one that prints and writes files."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def main_process_first() -> Iterator[None]:
    """Run the body on the main process first, while the other ranks wait for up to a day.

    The trainer's own version uses the timeout of gradient synchronisation, which is too short for long work.
    """
    if not distributed.is_initialized():
        yield
        return
    group = distributed.new_group(backend="gloo", timeout=timedelta(days=1))
    if not is_main_process():
        distributed.barrier(group)
    yield
    if is_main_process():
        distributed.barrier(group)


def wants_launch(devices: int | None) -> bool:
    """Return whether to start the run under torchrun.

    If several GPUs are visible, even ``devices=1`` is started under torchrun: in a plain process the trainer would
    fall back to ``DataParallel``, which splits the batch and so changes the loss.
    """
    if "LOCAL_RANK" in os.environ:
        return False
    return (devices or 1) > 1 or torch.cuda.device_count() > 1


def launch(config: TrainConfig, *, resume: bool, overwrite: bool, devices: int | None) -> None:
    """Run ``smoothcse train`` with this configuration on several devices and wait until it ends.

    Args:
        config: Configuration of the run.
        resume: Whether to resume the run in the output folder.
        overwrite: Whether to replace the run in the output folder.
        devices: Number of ranks, one per device; None for all visible GPUs.

    Raises:
        SmoothCSEError: If too few devices are visible, or a rank fails. The message is that of the first failed rank.
        Stopped: If the run receives a signal. torchrun gives its ranks 30 seconds to write a checkpoint.
    """
    visible = torch.cuda.device_count()
    count = devices or visible
    _require_devices(count, visible)
    logging.getLogger("torch.distributed.elastic").setLevel(
        logging.CRITICAL
    )  # it would print a table of failures beside our message
    with tempfile.TemporaryDirectory() as folder:
        file, failure = Path(folder) / "config.yaml", Path(folder) / "failure"
        file.write_text(yaml.safe_dump(config.as_dict()), encoding="utf-8")
        arguments = ["--standalone", f"--nproc-per-node={count}", "-m", "smoothcse", "train", "--config", str(file)]
        arguments += ["--resume"] * resume + ["--overwrite"] * overwrite
        os.environ["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // (1 if visible else count)))
        os.environ[FAILURE_FILE] = str(failure)
        try:
            torchrun(parse_args(arguments))
        except SignalException as stopped:
            raise Stopped(
                f"The run in {config.output} on {count} devices stopped on {stopped.sigval.name}; "
                "continue with --resume.",
                stopped.sigval,
            ) from stopped
        except ChildFailedError as error:
            raise _failure(error, failure, count) from error
        finally:
            del os.environ[FAILURE_FILE]


def _require_devices(count: int, visible: int) -> None:
    if visible and count > visible:
        raise SmoothCSEError(
            f"--devices {count} was asked for, but {visible} GPUs are visible; use --devices {visible} or fewer."
        )
    cores = os.cpu_count() or 1
    if not visible and count > _PROCESSES_PER_CORE * cores:
        raise SmoothCSEError(
            f"--devices {count} was asked for, but there is no GPU and the processor has {cores} cores; "
            f"use at most {_PROCESSES_PER_CORE * cores}."
        )


def _failure(error: ChildFailedError, file: Path, count: int) -> SmoothCSEError:
    """Return the error of the first rank that failed: its message, or its signal or exit code if it left none."""
    rank, first = error.get_first_failure()
    code = first.exitcode
    if code < 0:
        hint = " (the machine may have run out of memory)" if code == -signal.SIGKILL else ""
        return SmoothCSEError(
            f"Rank {rank} of the {count} was killed by {signal.Signals(-code).name}{hint}; continue with --resume."
        )
    if not file.is_file():
        return SmoothCSEError(f"Rank {rank} of the {count} ended with exit code {code}; its traceback is above.")
    message = file.read_text(encoding="utf-8")
    return Stopped(message, code - 128) if code > 128 else SmoothCSEError(message)
