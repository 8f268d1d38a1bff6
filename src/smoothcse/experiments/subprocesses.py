"""Runs in separate processes, several at a time."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import yaml

from smoothcse.experiments.planned_runs import PlannedRun
from smoothcse.experiments.runner import RunFailed, Work
from smoothcse.experiments.seven_tasks import SevenTasks
from smoothcse.runs.config import TrainConfig


@dataclass(frozen=True)
class Subprocess:
    """Trains and scores by calling this package's commands.

    Attributes:
        environment: Environment variables of the process, in addition to those of this process.
    """

    environment: Mapping[str, str]

    def train(self, config: TrainConfig, *, resume: bool, overwrite: bool) -> None:
        """Train a run; its configuration and its log are written beside its folder."""
        folder = Path(config.output)
        folder.parent.mkdir(parents=True, exist_ok=True)
        file = folder.with_suffix(".yaml")
        file.write_text(yaml.safe_dump(config.as_dict()), encoding="utf-8")
        again = ["--resume"] * resume + ["--overwrite"] * overwrite
        self._call(["train", "--config", str(file), *again], folder.with_suffix(".log"))

    def score(self, model: Path, wanted: SevenTasks, data: Path, file: Path) -> None:
        """Score a model on the seven tasks and write ``file``; the log is written beside the run folder."""
        arguments = ["evaluate", str(model), "--data", str(data), "--precision", "fp32", "--output", str(file)]
        arguments += ["--pairs", str(wanted.pairs)] if wanted.pairs else []
        self._call(arguments, file.parent.with_suffix(".sts.log"))

    def _call(self, arguments: Sequence[str], log: Path) -> None:
        if not call(arguments, self.environment, log):
            raise RunFailed(f"see {log}")


class Subprocesses:
    """Carries out several runs at a time, each in a process of its own; the others go on when one fails.

    Args:
        jobs: Runs at a time; None for one per visible GPU, or one without GPUs. On a CPU they share the cores.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.workers = [Subprocess(environment) for environment in environments(jobs)]

    def each(self, runs: Sequence[PlannedRun], work: Work) -> Iterator[tuple[PlannedRun, RunFailed | None]]:
        """Carry out the work in threads; yield each run when it has ended, with its failure if it failed."""
        free: queue.SimpleQueue[Subprocess] = queue.SimpleQueue()
        for worker in self.workers:
            free.put(worker)
        stopping = threading.Event()

        def do(run: PlannedRun) -> RunFailed | None:
            if stopping.is_set():
                return None
            worker = free.get()
            try:
                work(run, worker)
            except RunFailed as failure:
                return failure
            finally:
                free.put(worker)
            return None

        with ThreadPoolExecutor(len(self.workers)) as pool:
            futures = {pool.submit(do, run): run for run in runs}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BaseException:
                stopping.set()  # no waiting runs after an interrupt; running ones receive it themselves
                raise


def call(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> bool:
    """Run a command of this package in a separate process and return whether it succeeded."""
    command = [sys.executable, "-m", "smoothcse", *arguments]
    with log.open("w", encoding="utf-8") as stream:
        return not subprocess.run(command, env={**os.environ, **environment}, stdout=stream, stderr=stream).returncode


def environments(jobs: int | None) -> list[dict[str, str]]:
    """Return the environment variables for each of several simultaneous runs."""
    import torch

    gpus = torch.cuda.device_count()
    count = jobs or max(1, gpus)
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": str(job % gpus)} for job in range(count)]
    threads = max(1, len(os.sched_getaffinity(0)) // count) if hasattr(os, "sched_getaffinity") else 1
    return [{"OMP_NUM_THREADS": str(threads)}] * count
