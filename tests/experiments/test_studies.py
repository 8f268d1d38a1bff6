"""Studies: statistics as scipy has them, runs recorded once and never repeated, tables that say what was run."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console
from sentence_transformers import SentenceTransformer

from commands import run_here
from forked import start_command
from smoothcse._utils.folder_lock import lock_folder
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.sts import SEVEN_STS, evaluate_sts, load_tasks
from smoothcse.evaluation.sts_tasks import files_of, sample_pairs
from smoothcse.experiments import study_plots
from smoothcse.experiments.run_records import append_record, read_records, recorded, require_one_text
from smoothcse.experiments.run_study import run_study
from smoothcse.experiments.runner import RunFailed
from smoothcse.experiments.statistics import paired_difference, show_mean_sd
from smoothcse.experiments.study import read_study
from smoothcse.experiments.subprocesses import Children, Subprocess, Subprocesses
from smoothcse.experiments.summary import sts_rows, summary_rows
from smoothcse.runs.folder import RunFolder
from sts_files import sts_file, write

pytestmark = pytest.mark.slow


def test_runs_cover_variants_grid_and_seeds_seed_by_seed(tmp_path):
    study = read_study(written(tmp_path, grid={"batch_size": [4, 8]}, seeds=[7, 9]))
    names = [run.name for run in study.runs()]
    assert names[:4] == [f"batch_size={n}/{variant}/seed-7" for n in (4, 8) for variant in ("infonce", "gs")]
    assert len(set(names)) == 8
    run = study.runs(["gs"])[1]
    assert (run.config.batch_size, run.config.noise_count, run.config.seed) == (8, 16, 7)


def test_a_value_of_the_grid_brings_other_fields_with_it(tmp_path):
    grid = {"batch_size": {4: {"learning_rate": 1e-5}, 8: {"learning_rate": 2e-5}}}
    study = read_study(written(tmp_path, grid=grid, seeds=[0]))
    runs = study.runs(["gs"])
    assert [(run.config.batch_size, run.config.learning_rate) for run in runs] == [(4, 1e-5), (8, 2e-5)]
    assert [run.name for run in runs] == ["batch_size=4/gs/seed-0", "batch_size=8/gs/seed-0"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grid": {"batch_size": {4: 1e-5}}}, "must give a mapping of fields for each value"),
        ({"grid": {"batch_size": [{"batch_size": 4}]}}, "grid.batch_size must be a list of values"),
        ({"varants": {}}, "no key 'varants' in a study. Did you mean 'variants'"),
        ({"variants": {}}, "variants is missing"),
        ({"variants": {"gs": 3}}, "the variant 'gs' must be a mapping"),
        ({"control": "nobody"}, "the control 'nobody' is none of the variants (infonce, gs)"),
        ({"seeds": 3}, "seeds must be a list"),
        ({"seeds": [1, 1]}, "one of them twice"),
        ({"grid": {"batch_size": 4}}, "grid.batch_size must be a list"),
        ({"base": {"temprature": 1}}, "no configuration field 'temprature'. Did you mean 'temperature'"),
        ({"base": [1]}, "base must be a mapping"),
        ({"base": {"seed": 7}}, "base sets seed; list the seeds under seeds"),
        ({"grid": {"seed": [1, 2]}}, "grid sets seed"),
        ({"variants": {"infonce": {"output": "x"}, "gs": {}}}, "the variant 'infonce' sets output"),
        ({"grid": {"batch_size": {4: {"batch_size": 8}}}}, "grid.batch_size sets batch_size, which the grid sets"),
        (
            {"grid": {"batch_size": {4: {"temperature": 0.1}}, "temperature": [0.1, 0.2]}},
            "grid.batch_size sets temperature, which the grid sets already",
        ),
        (
            {"grid": {"batch_size": {4: {"max_steps": 1}}, "epochs": {1: {"max_steps": 2}}}},
            "grid.epochs sets max_steps, which the grid sets already",
        ),
        ({"grid": {"noise_count": [0, 8]}}, "the variant 'infonce' sets noise_count, and so does the grid"),
        ({"grid": {"batch_size": {4: {"noise_count": 0}}}}, "the variant 'infonce' sets noise_count"),
        (
            {"evaluate": {"data": "x", "which": "frist"}},
            "evaluate: which is 'frist', but input should be 'last' or 'best'",
        ),
        ({"evaluate": {"data": "x", "pair": 4}}, "evaluate: there is no field 'pair'"),
        ({"evaluate": {}}, "evaluate: data is missing"),
        ({"evaluate": "hub"}, "evaluate: the value is 'hub', but input should be a dictionary"),
    ],
)
def test_a_study_file_that_is_wrong(tmp_path, changes, said):
    file = written(tmp_path, **changes)
    with pytest.raises(SmoothCSEError) as error:
        read_study(file)
    assert str(error.value).startswith(f"{file}: ")
    assert said in str(error.value)


def test_an_unknown_variant_is_told(tmp_path):
    with pytest.raises(SmoothCSEError, match=r"no variant 'gsi'\. Did you mean 'gs'"):
        read_study(written(tmp_path)).runs(["gsi"])


def call_here(self, arguments, environment, log):
    """Stands for ``Children.call``: the same command and log, without the imports of a process of its own."""
    with log.open("w") as stream, redirect_stdout(stream), redirect_stderr(stream):
        return not run_here(*arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_bert):
    """A study of two variants and two seeds that was really run."""
    folder = tmp_path_factory.mktemp("study")
    file = written(folder, model=tiny_bert)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Children, "call", call_here)
        run_study(read_study(file), folder, workers=Subprocesses(1))
    return file, folder


def test_a_study_writes_table_runs_and_curves(finished):
    file, folder = finished
    study = read_study(file)
    records = read_records(folder / "runs.jsonl")
    headings, rows = summary_rows(study, records)
    by_variant = {row[0]: dict(zip(headings, row, strict=True)) for row in rows}
    lasts = {variant: [r.last for r in records if r.variant == variant] for variant in ("gs", "infonce")}
    assert by_variant["gs"]["last"] == show_mean_sd(lasts["gs"])
    assert by_variant["gs"]["last - control"] == str(paired_difference(lasts["gs"], lasts["infonce"]))
    assert by_variant["infonce"]["last - control"] == ""
    assert "4 of 4 runs" in (folder / "summary.md").read_text()
    assert [row["seed"] for row in csv.DictReader((folder / "runs.csv").open())] == ["0", "0", "1", "1"]
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    run = folder / "runs" / "gs" / "seed-1"
    assert (run / "best" / "config.json").is_file()
    assert not (run / "checkpoints").exists()


def test_a_record_holds_what_its_run_says(finished):
    _, folder = finished
    for record in read_records(folder / "runs.jsonl"):
        run = json.loads((folder / "runs" / record.variant / f"seed-{record.seed}" / "run.json").read_text())
        assert (record.start, record.last) == (run["result"]["start_score"], run["result"]["last_score"])
        assert [step for step, _ in record.curve] == [0, 1, 2]
        assert (record.noise_share is not None) == (record.variant == "gs")


def test_a_finished_run_is_never_repeated(finished, monkeypatch):
    file, folder = finished
    monkeypatch.setattr(Subprocess, "train", lambda *_, **__: pytest.fail("a recorded run was trained again"))
    before = (folder / "runs.jsonl").read_bytes()
    assert len(run_study(read_study(file), folder)) == 4
    assert (folder / "runs.jsonl").read_bytes() == before


def test_without_matplotlib_there_are_still_the_tables(finished, monkeypatch):
    def pyplot():
        raise SmoothCSEError("Pictures need matplotlib.")

    file, folder = finished
    monkeypatch.setattr(study_plots, "pyplot", pyplot)
    console = Console(record=True, file=io.StringIO(), width=200)
    assert len(run_study(read_study(file), folder, console=console)) == 4
    said = console.export_text()
    assert "last - control" in said
    assert "No plots were drawn. Pictures need matplotlib." in said


def test_a_study_is_run_by_one_process(finished):
    file, folder = finished
    with lock_folder(folder, remedy=""), pytest.raises(SmoothCSEError, match="is in use by process"):
        run_study(read_study(file), folder)


def test_runs_that_learned_from_two_texts_are_not_compared(finished):
    _, folder = finished
    first, second, *_ = read_records(folder / "runs.jsonl")
    require_one_text([first, second])
    require_one_text([first, replace(second, fingerprint=None)])  # as records before had it
    with pytest.raises(SmoothCSEError, match=rf"different texts \(fingerprints {first.fingerprint} and 0123\)"):
        require_one_text([first, replace(second, fingerprint="0123")])
    drawn = [replace(r, config={**r.config, "limit": 2}, seed=seed) for seed, r in enumerate((first, second))]
    require_one_text([drawn[0], replace(drawn[1], fingerprint="0123")])  # each seed draws its own


def test_a_changed_field_asks_for_new_runs(finished, tmp_path, monkeypatch):
    file, folder = finished
    values = yaml.safe_load(file.read_text())
    values["base"]["learning_rate"] = 1e-4
    changed = tmp_path / "study.yaml"
    changed.write_text(yaml.safe_dump(values))
    asked = []

    def train(self, config, *, resume, overwrite):
        asked.append((Path(config.output).relative_to(folder / "runs").as_posix(), resume, overwrite))
        raise RunFailed("see the log")

    monkeypatch.setattr(Subprocess, "train", train)
    with pytest.raises(SmoothCSEError, match="4 of the study's runs failed"):
        run_study(read_study(changed), folder)
    assert asked == [(run.name, False, True) for run in read_study(changed).runs()]


def test_a_command_runs_in_a_process_of_its_own_and_says_whether_it_succeeded(tmp_path):
    log = tmp_path / "run.log"
    assert Children().call(["list", "recipes"], {"COLUMNS": "100"}, log)
    assert "control/roberta-large" in log.read_text()
    assert not Children().call(["list", "recipes", "nothing"], {}, log)
    assert "no recipe 'nothing'" in log.read_text()


def test_a_signal_stops_the_runs_in_progress_and_the_study_continues(tmp_path, tiny_bert):
    """The first run writes a checkpoint and the second is not started; then both are finished."""
    file = written(tmp_path, model=tiny_bert, seeds=[0])
    text = file.read_text().replace("max_steps: 2", "max_steps: 5000")
    file.write_text(text.replace("eval_steps: 1", "eval_steps: 5000"))
    metrics = tmp_path / "runs" / "infonce" / "seed-0" / "metrics.jsonl"
    study = start_command("study", file, said=tmp_path / "said.txt")
    while not (metrics.is_file() and metrics.read_text().count("loss") > 3):
        assert study.is_alive(), (tmp_path / "said.txt").read_text()
        time.sleep(0.05)
    os.kill(study.pid, signal.SIGTERM)
    study.join()
    assert study.exitcode == 128 + signal.SIGTERM
    assert "Stopped on SIGTERM; the runs in progress have written checkpoints" in (tmp_path / "said.txt").read_text()
    run = RunFolder(metrics.parent)
    assert run.latest_checkpoint()
    assert not run.finished
    with lock_folder(run.path, remedy=""):  # no process is left
        pass
    assert not (tmp_path / "runs" / "gs" / "seed-0").exists()


@pytest.mark.parametrize("option", ["output", "runs_folder"])
def test_a_folder_that_cannot_be_written(option, tmp_path, tiny_bert):
    (tmp_path / "taken").write_text("")
    study = read_study(written(tmp_path, model=tiny_bert))
    with pytest.raises(SmoothCSEError, match=r"taken cannot be written \(File exists\): give another --(output|runs)"):
        run_study(study, **{"output": tmp_path / "out", option: tmp_path / "taken"})


def test_an_empty_file_holds_no_records(tmp_path):
    """As a full disk may leave it."""
    (tmp_path / "runs.jsonl").touch()
    assert read_records(tmp_path / "runs.jsonl") == []


def test_a_run_that_fails_is_named_with_its_log_and_the_others_are_kept(tmp_path, tiny_bert, monkeypatch):
    monkeypatch.setattr(Children, "call", call_here)
    variants = {"good": {"noise_count": 0}, "bad": {"model": "no-such-model"}}
    file = written(tmp_path, model=tiny_bert, variants=variants, control="good", seeds=[0])
    with pytest.raises(SmoothCSEError, match="bad/seed-0") as error:
        run_study(read_study(file), tmp_path / "out", workers=Subprocesses(1))
    log = tmp_path / "out" / "runs" / "bad" / "seed-0.log"
    assert str(log) in str(error.value)
    assert "no-such-model" in log.read_text()
    assert [record.variant for record in read_records(tmp_path / "out" / "runs.jsonl")] == ["good"]


@pytest.fixture(scope="module")
def scored(finished, tmp_path_factory):
    """The same study after its file asked for the seven tasks, of one seed."""
    file, folder = finished
    output = tmp_path_factory.mktemp("scored")
    data = output / "sts"
    for number, relative in enumerate(path for name in SEVEN_STS for path in files_of(name)):
        write(data / relative, sts_file(relative, number))
    values = yaml.safe_load(file.read_text()) | {"seeds": [0], "evaluate": {"data": str(data), "pairs": 10}}
    changed = output / "study.yaml"
    changed.write_text(yaml.safe_dump(values, sort_keys=False))
    shutil.copy(folder / "runs.jsonl", output)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subprocess, "train", lambda *_, **__: pytest.fail("a recorded run was trained again"))
        patch.setattr(Children, "call", call_here)
        run_study(read_study(changed), output, runs_folder=folder / "runs", workers=Subprocesses(1))
    return changed, output, data


def test_runs_that_lack_the_seven_tasks_are_scored_and_not_trained_again(finished, scored):
    _, folder = finished
    file, output, data = scored
    study = read_study(file)
    tasks = [sample_pairs(task, 10) for task in load_tasks(data)]
    for record in recorded(study.runs(), output / "runs.jsonl"):
        assert record.evaluated == study.evaluate
        model = SentenceTransformer(str(folder / "runs" / record.variant / "seed-0" / "last"), device="cpu")
        scores = {score.task: score.main for score in evaluate_sts(model, tasks)}
        assert record.sts == pytest.approx(scores | {"avg": np.mean(list(scores.values()))})
        assert record.step_seconds > 0
    assert len(read_records(output / "runs.jsonl")) == 6  # the four of before, and two with scores


def test_the_seven_tasks_stand_in_tables_csv_and_a_plot(scored):
    file, output, _ = scored
    study = read_study(file)
    records = recorded(study.runs(), output / "runs.jsonl")
    headings, rows = sts_rows(study, records)
    by_variant = {row[0]: dict(zip(headings, row, strict=True)) for row in rows}
    averages = {record.variant: record.sts["avg"] for record in records}
    assert by_variant["gs"]["STS12"] == show_mean_sd([records[1].sts["STS12"]])
    assert by_variant["gs"]["avg - control"] == str(paired_difference([averages["gs"]], [averages["infonce"]]))
    summary = (output / "summary.md").read_text()
    assert "of each run's last model, on a fixed sample of 10 pairs a task" in summary
    assert "s/step" in summary
    written = list(csv.DictReader((output / "runs.csv").open()))
    assert [float(row["avg"]) for row in written] == [averages["infonce"], averages["gs"]]
    assert all(float(row["step_seconds"]) > 0 for row in written)
    assert (output / "sts.png").read_bytes().startswith(b"\x89PNG")


def test_scored_runs_are_not_scored_again_unless_other_scores_are_asked_for(finished, scored, monkeypatch):
    _, folder = finished
    file, output, data = scored
    called = []
    monkeypatch.setattr(Children, "call", lambda self, arguments, *_: called.append(arguments))
    elsewhere = {"data": str(data.parent / "." / "sts"), "pairs": 10}
    run_study(read_study(with_evaluate(file, elsewhere)), output, runs_folder=folder / "runs")
    run_study(read_study(with_evaluate(file, None)), output, runs_folder=folder / "runs")
    assert not called
    with pytest.raises(SmoothCSEError, match="2 of the study's runs failed"):
        run_study(read_study(with_evaluate(file, elsewhere | {"which": "best"})), output, runs_folder=folder / "runs")
    assert [arguments[:2] for arguments in called] == [
        ["evaluate", str(folder / "runs" / variant / "seed-0" / "best")] for variant in ("infonce", "gs")
    ]


def test_a_run_finished_but_not_recorded_is_not_trained_again(finished, monkeypatch):
    file, folder = finished
    monkeypatch.setattr(Children, "call", lambda *_: pytest.fail("a finished run was trained again"))
    elsewhere = folder / "unrecorded"
    records = run_study(read_study(file), elsewhere, runs_folder=folder / "runs")
    assert records == read_records(folder / "runs.jsonl")


def test_scores_of_a_model_that_is_gone_are_a_failure_that_says_so(scored, tmp_path):
    file, output, data = scored
    study = read_study(with_evaluate(file, {"data": str(data), "pairs": 11}))
    with pytest.raises(SmoothCSEError, match=r"gs/seed-0 \(") as error:
        run_study(study, output, runs_folder=tmp_path)
    assert f"{tmp_path / 'gs' / 'seed-0'} does not hold this run any more" in str(error.value)


def test_a_gap_in_the_data_is_told_before_anything_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(Children, "call", lambda *_: pytest.fail("a run was started"))
    study = read_study(written(tmp_path, evaluate={"data": str(tmp_path)}))
    with pytest.raises(SmoothCSEError, match="lacks 50 of 50 files"):
        run_study(study, tmp_path / "out")


def test_records_from_before_there_were_scores_still_load(scored):
    file, output, _ = scored
    study = read_study(file)
    new = recorded(study.runs(), output / "runs.jsonl")[0]
    old = {
        name: value
        for name, value in asdict(new).items()
        if name not in ("step_seconds", "peak_memory_mb", "evaluated", "sts")
    }
    (output / "old.jsonl").write_text(json.dumps(old) + "\n")
    (record,) = read_records(output / "old.jsonl")
    assert record.last == new.last
    assert not record.has(study.evaluate)
    assert "s/step" not in summary_rows(study, [record])[0]


def with_evaluate(file, evaluate):
    """Write a study file anew with another ``evaluate``, beside the first."""
    other = file.with_name("other.yaml")
    other.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"evaluate": evaluate}, sort_keys=False))
    return other


def test_a_broken_record_is_named_by_its_line(finished, tmp_path):
    _, folder = finished
    file = tmp_path / "runs.jsonl"
    append_record(file, read_records(folder / "runs.jsonl")[0])
    with file.open("a") as stream:
        stream.write('{"variant": "gs"}\n')
    with pytest.raises(SmoothCSEError, match=r"runs\.jsonl:2 is not a record"):
        read_records(file)


def written(folder, model="packaged-minilm", **changes):
    """Write a study file of two variants and return its path."""
    corpus = folder / "text.txt"
    corpus.write_text("".join(f"sentence number {number} of a small corpus\n" for number in range(24)))
    values = {
        "about": "Does it?",
        "base": {"corpus": str(corpus), "model": model, "batch_size": 8, "max_steps": 2, "eval_steps": 1}
        | {"precision": "fp32", "log_steps": 1},
        "seeds": [0, 1],
        "control": "infonce",
        "variants": {"infonce": {"noise_count": 0}, "gs": {"noise_count": 16}},
    }
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({**values, **changes}, sort_keys=False))
    return file
