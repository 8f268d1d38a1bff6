"""The runner: which runs are trained, resumed, replaced, scored and recorded, with workers that only write files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.sts_tasks import SEVEN_STS
from smoothcse.experiments import in_process, runner
from smoothcse.experiments.demo import plan_demo
from smoothcse.experiments.in_process import InProcess
from smoothcse.experiments.planned_runs import Plan, PlannedRun
from smoothcse.experiments.run_records import read_records
from smoothcse.experiments.runner import RunFailed, run_missing, run_plan
from smoothcse.experiments.seeds import plan_seeds, train_seeds
from smoothcse.experiments.seven_tasks import SevenTasks
from smoothcse.experiments.subprocesses import Subprocesses
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder

CONFIG = TrainConfig(corpus="text.txt", max_steps=4)
QUIET = Console(quiet=True)


class Recorder:
    """Workers that write what a run would leave, and note what they were asked for."""

    def __init__(self, *failing: str) -> None:
        self.asked, self.failing = [], failing

    def each(self, runs, work):
        for run in runs:
            try:
                work(run, self)
                yield run, None
            except RunFailed as failure:
                yield run, failure

    def train(self, config, *, resume, overwrite):
        folder = RunFolder(config.output)
        self.asked.append((folder.path.name, resume, overwrite))
        if folder.path.name in self.failing:
            raise RunFailed("see its log")
        leave(folder, config)

    def score(self, model, wanted, data, file):
        self.asked.append((model.parent.name, model.name, wanted.pairs))
        scores = {task: {"spearman": 70.0 + n, "diagnosis": None} for n, task in enumerate(SEVEN_STS)}
        scores["STS12"]["diagnosis"] = "collapsed"
        settings = {"data": str(data), "pairs": wanted.pairs}
        file.write_text(json.dumps({"details": {model.name: {"sts": scores}}, "settings": settings}))


def leave(folder: RunFolder, config: TrainConfig, status: str = "finished", text: str = "f00d") -> None:
    """Write what a run leaves in its folder."""
    (folder.checkpoints / "checkpoint-2").mkdir(parents=True, exist_ok=True)
    manifest = {
        "status": status,
        "config": config.as_dict(),
        "result": {"start_score": 1.0, "best_score": 3.0, "best_step": 2, "last_score": 2.0, "criterion": "dev"},
        "times": {"total_seconds": 5.0, "step_seconds": 0.5},
        "data": {"fingerprint": text},
    }
    folder.manifest_file.write_text(json.dumps(manifest))
    folder.metrics_file.write_text(
        json.dumps({"step": 0, "eval_dev_score": 1.0, "eval_MRR": 9.0, "seconds": 1}) + "\n"
    )


def run_of(plan: Plan, name: str) -> PlannedRun:
    return next(run for run in plan.runs if run.name == name)


@pytest.fixture
def plan(tmp_path) -> Plan:
    """Four seeds: one finished, one interrupted, one of another configuration, one not there."""
    plan = plan_seeds(CONFIG.replace(output=str(tmp_path)), 4)
    for name, status, changes in [
        ("seed-42", "finished", {}),
        ("seed-43", "running", {}),
        ("seed-44", "finished", {"batch_size": 8}),
    ]:
        run = run_of(plan, name)
        leave(plan.folder_of(run), run.config.replace(**changes), status)
    return plan


def test_runs_of_a_plan_are_named_by_what_tells_them_apart(tmp_path):
    assert [run.name for run in plan_seeds(CONFIG, 2).runs] == ["seed-42", "seed-43"]
    demo = plan_demo(tmp_path, 60)
    assert [run.name for run in demo.runs] == ["control", "adapted"]
    assert demo.config_of(demo.runs[1]).output == str(tmp_path / "adapted")


def test_a_run_of_another_configuration_is_refused_before_anything_is_trained(plan):
    workers = Recorder()
    with pytest.raises(SmoothCSEError, match=r"seed-44 was started with another configuration \(batch_size differ\)"):
        run_plan(plan, workers)
    assert not workers.asked


def test_a_run_of_another_configuration_is_replaced_on_request(plan):
    workers = Recorder()
    records = run_plan(plan, workers, replace="changed")
    assert workers.asked == [("seed-43", True, False), ("seed-44", False, True), ("seed-45", False, True)]
    assert [record.seed for record in records] == [42, 43, 44, 45]
    assert {(record.best, record.best_step, record.last) for record in records} == {(3.0, 2, 2.0)}
    assert not list(plan.folder.rglob("checkpoints"))


def test_all_runs_are_replaced_on_request_and_keep_their_checkpoints(plan):
    workers = Recorder()
    run_plan(plan, workers, replace="all", keep_checkpoints=True)
    assert workers.asked == [(f"seed-{seed}", False, True) for seed in (42, 43, 44, 45)]
    assert len(list(plan.folder.glob("*/checkpoints"))) == 4


def test_a_failed_run_ends_a_plan_but_not_a_study(tmp_path):
    plan = plan_seeds(CONFIG.replace(output=str(tmp_path)), 3)
    with pytest.raises(RunFailed, match="see its log"):
        run_plan(plan, Recorder("seed-43"))
    ended = {run.name: found for run, found in run_missing(plan, Recorder("seed-43"))}
    assert isinstance(ended["seed-43"], RunFailed)
    assert [ended[name].seed for name in ("seed-42", "seed-44")] == [42, 44]


def test_a_recorded_run_is_not_repeated_even_if_its_folder_is_gone(tmp_path):
    plan, file = plan_seeds(CONFIG.replace(output=str(tmp_path / "runs")), 2), tmp_path / "runs.jsonl"
    first = [found for _, found in run_missing(plan, Recorder(), record_file=file)]
    (tmp_path / "runs" / "seed-42" / "run.json").unlink()
    workers = Recorder()
    assert not list(run_missing(plan, workers, record_file=file))
    assert not workers.asked
    assert read_records(file) == first


def test_runs_of_different_texts_end_the_plan_and_are_not_recorded(tmp_path):
    plan, file = plan_seeds(CONFIG.replace(output=str(tmp_path)), 2), tmp_path / "runs.jsonl"
    leave(plan.folder_of(plan.runs[0]), plan.runs[0].config, text="0ff")
    with pytest.raises(SmoothCSEError, match="The runs seed-42 and seed-43 were trained on different texts"):
        list(run_missing(plan, Recorder(), record_file=file))
    assert [record.seed for record in read_records(file)] == [42]


@pytest.fixture
def scored(tmp_path, monkeypatch) -> Plan:
    """A plan that asks for the seven tasks, whose data nobody reads here."""
    monkeypatch.setattr(SevenTasks, "checked_data", lambda self: Path(self.data))
    runs = plan_seeds(CONFIG, 1).runs
    return Plan(runs, tmp_path, SevenTasks(data="sts", which="best", pairs=5))


def test_a_model_is_scored_once_for_the_same_data(scored):
    workers = Recorder()
    [record] = run_plan(scored, workers)
    assert workers.asked == [("seed-42", False, False), ("seed-42", "best", 5)]
    assert record.sts["avg"] == 73.0
    assert record.diagnoses == ["collapsed"]
    again = Recorder()
    assert run_plan(scored, again) == [record]
    assert not again.asked


@pytest.mark.parametrize("change", [{"data": "other"}, {"which": "last"}, {"pairs": None}])
def test_other_scores_are_measured_again(scored, change):
    run_plan(scored, Recorder())
    wanted = {"data": "sts", "which": "best", "pairs": 5} | change
    workers = Recorder()
    run_plan(Plan(scored.runs, scored.folder, SevenTasks(**wanted)), workers)
    assert workers.asked == [("seed-42", wanted["which"], wanted["pairs"])]


def test_seeds_that_are_there_are_refused_with_the_ways_on(plan):
    with pytest.raises(SmoothCSEError, match=r"holds 3 of these runs; continue them with --resume, replace them"):
        train_seeds(CONFIG.replace(output=str(plan.folder)), 4, console=QUIET)


def test_the_start_is_scored_once_where_all_runs_share_it(tmp_path, monkeypatch):
    known = []

    def train(config, *, start_metrics, **options):
        known.append(start_metrics)
        leave(RunFolder(config.output), config)

    monkeypatch.setattr(in_process, "train", train)
    run_plan(plan_demo(tmp_path / "one", 4), InProcess(QUIET, same_start=True))
    run_plan(plan_demo(tmp_path / "two", 4), InProcess(QUIET))
    assert known == [None, {"dev_score": 1.0, "MRR": 9.0}, None, None]


def test_other_errors_than_a_failed_run_stop_all_workers(plan):
    def work(run, worker):
        raise SmoothCSEError(f"{run.name} is damaged")

    with pytest.raises(SmoothCSEError, match=r"seed-4. is damaged"):
        list(Subprocesses(2).each(plan.runs, work))


def test_runs_in_processes_of_their_own_share_the_workers(plan):
    seen = []

    def work(run, worker):
        seen.append(worker.environment)
        if run.name == "seed-43":
            raise RunFailed("see its log")

    ended = dict((run.name, failure) for run, failure in Subprocesses(2).each(plan.runs, work))
    assert {name for name, failure in ended.items() if failure} == {"seed-43"}
    assert len(seen) == 4
    assert runner.missing_runs(plan, []) == list(plan.runs)
