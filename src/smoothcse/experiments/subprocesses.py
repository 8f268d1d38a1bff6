"""Runs in separate processes, several at a time."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import yaml

from smoothcse.errors import Stopped
from smoothcse.experiments.planned_runs import PlannedRun
from smoothcse.experiments.runner import RunFailed, Work
from smoothcse.experiments.seven_tasks import SevenTasks
from smoothcse.runs.config import TrainConfig


class Children:
    """Processes of commands of this package, which can be stopped together."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal can interrupt the thread that holds it
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def call(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> bool:
        """Run a command in a process of its own, wait for it, and return whether it succeeded."""
        command = [sys.executable, "-m", "smoothcse", *arguments]
        with log.open("w", encoding="utf-8") as stream:
            with self._lock:
                if self._stopped:
                    return False
                # In a group of its own, a process is stopped by `stop` and not by Ctrl-C as well: the second signal
                # would end it without a checkpoint.
                process = subprocess.Popen(
                    command, env={**os.environ, **environment}, stdout=stream, stderr=stream, process_group=0
                )
                self._running.add(process)
            try:
                return process.wait() == 0
            finally:
                with self._lock:
                    self._running.discard(process)

    def stop(self) -> None:
        """Ask all processes to stop, which makes a training run write a checkpoint, and start no others."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()


@dataclass(frozen=True)
class Subprocess:
    """Trains and scores by calling this package's commands.

    Attributes:
        environment: Environment variables of the process, in addition to those of this process.
        children: Processes of all workers.
    """

    environment: Mapping[str, str]
    children: Children

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
        if not self.children.call(arguments, self.environment, log):
            raise RunFailed(f"see {log}")


class Subprocesses:
    """Carries out several runs at a time, each in a process of its own; the others go on when one fails.

    A signal (SIGINT, SIGTERM) stops them all, each with a checkpoint.

    Args:
        jobs: Runs at a time; None for one per visible GPU, or one without GPUs. On a CPU they share the cores.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.children = Children()
        self.workers = [Subprocess(environment, self.children) for environment in environments(jobs)]

    def each(self, runs: Sequence[PlannedRun], work: Work) -> Iterator[tuple[PlannedRun, RunFailed | None]]:
        """Carry out the work in threads; yield each run when it has ended, with its failure if it failed.

        Raises:
            Stopped: After a signal, once the processes have ended.
        """
        free: queue.SimpleQueue[Subprocess] = queue.SimpleQueue()
        for worker in self.workers:
            free.put(worker)
        received: list[int] = []

        def stop(number: int, frame: FrameType | None) -> None:
            received.append(number)
            self.children.stop()

        with _handled(stop), ThreadPoolExecutor(len(self.workers)) as pool:
            futures = {pool.submit(_do, work, run, free): run for run in runs}
            try:
                for future in as_completed(futures):
                    if received:
                        break
                    yield futures[future], future.result()
            except BaseException:
                self.children.stop()
                raise
        if received:
            raise _stopped(received[0])


def _do(work: Work, run: PlannedRun, free: queue.SimpleQueue[Subprocess]) -> RunFailed | None:
    """Do the work of a run by a free worker, and return its failure if it failed."""
    worker = free.get()
    try:
        work(run, worker)
    except RunFailed as failure:
        return failure
    finally:
        free.put(worker)
    return None


def _stopped(number: int) -> Stopped:
    return Stopped(
        f"Stopped on {signal.Signals(number).name}; the runs in progress have written checkpoints. Give the same "
        "command again to continue.",
        number,
    )


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call a handler on the first signal; a second one has its usual effect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def once(number: int, frame: FrameType | None) -> None:
        restore()
        handler(number, frame)

    def restore() -> None:
        for number, usual in before.items():
            signal.signal(number, usual)

    before = {number: signal.signal(number, once) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        restore()


def environments(jobs: int | None) -> list[dict[str, str]]:
    """Return the environment variables for each of several simultaneous runs."""
    import torch

    gpus = torch.cuda.device_count()
    count = jobs or max(1, gpus)
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # numbers or names among all GPUs of the machine
        names = [name.strip() for name in visible.split(",")] if visible else [str(number) for number in range(gpus)]
        return [{"CUDA_VISIBLE_DEVICES": names[job % gpus]} for job in range(count)]
    threads = max(1, len(os.sched_getaffinity(0)) // count) if hasattr(os, "sched_getaffinity") else 1
    return [{"OMP_NUM_THREADS": str(threads)}] * count
