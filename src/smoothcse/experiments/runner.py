"""Runs what is missing of a study, each run in a process of its own."""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import yaml
from rich.console import Console

from smoothcse._utils.folder_lock import lock_folder
from smoothcse._utils.progress import progress_bar
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.data import sts_folder
from smoothcse.evaluation.sts_tasks import load_tasks
from smoothcse.experiments.records import Record, append_record, read_records, record_of, require_one_text
from smoothcse.experiments.seven_tasks import SevenTasks, read_figures
from smoothcse.experiments.study import PlannedRun, Study
from smoothcse.experiments.summary import write_summary
from smoothcse.runs.config import changed_fields
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import manifest_file, read_manifest


def run_study(
    study: Study,
    output: Path,
    *,
    runs_folder: Path | None = None,
    only: Sequence[str] | None = None,
    jobs: int | None = None,
    console: Console | None = None,
) -> list[Record]:
    """Run what ``output/runs.jsonl`` does not record yet, and bring tables and plots up to date.

    A run is recorded once it has finished, and never repeated; one that was cut off goes on from its last checkpoint.
    So a study may be stopped at any time and started again, on another machine too. Where the study asks for the seven
    tasks, runs that lack them have their models scored, for which the run's folder must still be there.

    Args:
        study: from :func:`~smoothcse.experiments.study.read_study`.
        output: folder of ``runs.jsonl``, ``runs.csv``, ``summary.md`` and the plots.
        runs_folder: where the run folders go, with the models; None for ``output/runs``.
        only: variants to run now; None for all.
        jobs: runs at a time; None for one per visible GPU, else one. On a CPU they share the cores.
        console: where to print; None for standard error.

    Returns:
        The records of this study's runs, in the order of the plan.

    Raises:
        SmoothCSEError: if a run failed, after the others have ended; its log is named.
    """
    console = console or Console(stderr=True)
    output.mkdir(parents=True, exist_ok=True)
    with lock_folder(output, remedy="wait until that study ends, or give another --output"):
        return _run_missing(study, output, runs_folder or output / "runs", only, jobs, console)


def _run_missing(
    study: Study, output: Path, runs_folder: Path, only: Sequence[str] | None, jobs: int | None, console: Console
) -> list[Record]:
    record_file = output / "runs.jsonl"
    planned, known = study.runs(only), read_records(record_file)
    missing = [run for run in planned if not ((found := _record_of(run, known)) and found.has(study.evaluate))]
    if study.evaluate and missing:
        load_tasks(sts_folder(study.evaluate.data))  # a gap in the data is told now, not after the first training

    def work(run: PlannedRun, environment: dict[str, str]) -> Path | None:
        folder = runs_folder / run.name
        failed = None if _record_of(run, known) else _train(run, folder, environment)
        return failed or (_evaluate(run, folder, study.evaluate, environment) if study.evaluate else None)

    console.print(
        f"{study.about}\n{len(planned)} runs, {len(planned) - len(missing)} of them recorded before.", markup=False
    )
    failed: list[str] = []
    with progress_bar(console, unit="runs") as bar:
        task = bar.add_task("study", total=len(planned), completed=len(planned) - len(missing))
        for run, log in _finished(missing, work, jobs):
            if log:
                failed.append(f"{run.name} (see {log})")
            else:
                record = _record_of(run, known) or record_of(run, RunFolder(runs_folder / run.name))
                require_one_text([*recorded(study, record_file), record])
                append_record(record_file, _with_sts(record, study, runs_folder / run.name))
                write_summary(study, recorded(study, record_file), output)
            bar.update(task, advance=1, status=run.name)
    records = recorded(study, record_file)
    write_summary(study, records, output, console=console)
    if failed:
        raise SmoothCSEError(
            f"{len(failed)} of the study's runs failed; start it again to retry: {', '.join(failed)}."
        )
    return records


def recorded(study: Study, record_file: Path) -> list[Record]:
    """Return the records of a study's runs, in the order of the plan; those of runs no longer planned are left out."""
    records = read_records(record_file)
    return [record for run in study.runs() if (record := _record_of(run, records))]


def _record_of(run: PlannedRun, records: list[Record]) -> Record | None:
    return next((record for record in reversed(records) if record.is_of(run)), None)


def _with_sts(record: Record, study: Study, folder: Path) -> Record:
    if study.evaluate is None:
        return record
    return replace(record, evaluated=study.evaluate, sts=read_figures(_scores_file(folder)))


def _finished(
    runs: list[PlannedRun], work: Callable[[PlannedRun, dict[str, str]], Path | None], jobs: int | None
) -> Iterator[tuple[PlannedRun, Path | None]]:
    """Do the work on runs, several at a time; yield each as it ends, with its log if it failed."""
    devices = _devices(jobs)
    free: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for environment in devices:
        free.put(environment)
    stopping = threading.Event()

    def do(run: PlannedRun) -> Path | None:
        if stopping.is_set():
            return None
        environment = free.get()
        try:
            return work(run, environment)
        finally:
            free.put(environment)

    with ThreadPoolExecutor(len(devices)) as pool:
        futures = {pool.submit(do, run): run for run in runs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            stopping.set()  # an interrupt must not start the runs that wait; those that run have got it too
            raise


def _train(run: PlannedRun, folder: Path, environment: dict[str, str]) -> Path | None:
    if _is_finished(run, folder):
        return None
    folder.parent.mkdir(parents=True, exist_ok=True)
    config, log = folder.with_suffix(".yaml"), folder.with_suffix(".log")
    config.write_text(yaml.safe_dump({**run.config.as_dict(), "output": str(folder)}), encoding="utf-8")
    again = ["--resume"] * _can_resume(run, folder) or ["--overwrite"] * folder.exists()
    if not _call(["train", "--config", str(config), *again], environment, log):
        return log
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # three times the model, and nothing to resume
    return None


def _evaluate(run: PlannedRun, folder: Path, wanted: SevenTasks, environment: dict[str, str]) -> Path | None:
    log = folder.with_suffix(".sts.log")
    if not _is_finished(run, folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(
            f"{folder} does not hold this run any more, so that its model cannot be scored; bring the folder back, or "
            "delete the run's line in runs.jsonl to train it anew.\n",
            encoding="utf-8",
        )
        return log
    arguments = ["evaluate", str(folder / wanted.which), "--data", wanted.data, "--precision", "fp32"]
    arguments += ["--pairs", str(wanted.pairs)] if wanted.pairs else []
    succeeded = _call([*arguments, "--output", str(_scores_file(folder))], environment, log)
    return None if succeeded else log


def _scores_file(folder: Path) -> Path:
    return folder / "sts.json"


def _call(arguments: list[str], environment: dict[str, str], log: Path) -> bool:
    """Run a command of ours in a process of its own, and say whether it succeeded."""
    command = [sys.executable, "-m", "smoothcse", *arguments]
    with log.open("w", encoding="utf-8") as stream:
        return not subprocess.run(command, env={**os.environ, **environment}, stdout=stream, stderr=stream).returncode


def _is_finished(run: PlannedRun, folder: Path) -> bool:
    return _can_resume(run, folder) and RunFolder(folder).finished


def _can_resume(run: PlannedRun, folder: Path) -> bool:
    """Whether a run of this very configuration is there."""
    if not manifest_file(folder).is_file():
        return False
    return not changed_fields(read_manifest(folder).config, run.config.as_dict())


def _devices(jobs: int | None) -> list[dict[str, str]]:
    """Return the environment of each run that may go on at the same time."""
    import torch

    gpus = torch.cuda.device_count()
    count = jobs or max(1, gpus)
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": str(job % gpus)} for job in range(count)]
    threads = max(1, len(os.sched_getaffinity(0)) // count) if hasattr(os, "sched_getaffinity") else 1
    return [{"OMP_NUM_THREADS": str(threads)}] * count
