"""Records of several machines: runs are taken once, and those of another configuration or text are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from commands import run_here
from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.merge_records import Merged, merge_records
from smoothcse.experiments.run_records import append_record, read_records
from smoothcse.experiments.runner import RunFailed
from smoothcse.experiments.subprocesses import Subprocess
from smoothcse.runs.config import make_config
from study_records import made_record, made_study


@pytest.fixture
def study(tmp_path):
    return made_study(tmp_path)


def folder_of(folder, *records):
    folder.mkdir(parents=True)
    for record in records:
        append_record(folder / "runs.jsonl", record)
    return folder


def shards(folder, study):
    """A folder for each seed, and in that of the first seed runs of the second, too."""
    for seed in study.seeds:
        found = [made_record(run, 80 + seed) for run in study.runs(seeds=[seed])]
        more = [made_record(run, 99.0) for run in study.runs(seeds=[1])] if seed == 2 else []
        folder_of(folder / "shards" / f"seed-{seed}", *found, *more)
    return folder / "shards"


def test_each_run_is_taken_once_and_merging_again_adds_nothing(tmp_path, study):
    output = folder_of(tmp_path / "merged", made_record(study.runs()[0], 77.0))
    sources = shards(tmp_path, study)
    merged = merge_records(study, output, [sources / "seed-0", sources / "seed-1" / "runs.jsonl", sources])
    assert merged == Merged(11, 1 + 6 + 3, 0)
    records = {record.name: record for record in read_records(output / "runs.jsonl")}
    assert {name: record.last for name, record in records.items()} == {
        run.name: 77.0 if run == study.runs()[0] else 80.0 + run.seed for run in study.runs()
    }
    before = (output / "runs.jsonl").read_bytes()
    assert merge_records(study, output, [tmp_path]).added == 0
    assert (output / "runs.jsonl").read_bytes() == before


def test_a_record_with_the_scores_of_the_seven_tasks_replaces_one_without(tmp_path):
    study = made_study(tmp_path, evaluate={"data": "sts"})
    run = study.runs()[0]
    output = folder_of(tmp_path / "merged", made_record(run))
    scored = made_record(run, 81.0, evaluated=study.evaluate)
    merged = merge_records(
        study, output, [folder_of(tmp_path / "a", scored), folder_of(tmp_path / "b", made_record(run))]
    )
    assert merged == Merged(1, 1, 0)
    assert read_records(output / "runs.jsonl")[-1] == scored


def test_runs_of_other_studies_are_counted_and_left_out(tmp_path, study):
    held_out = made_study(tmp_path, seeds=[99, 98], variants={"gs": {}, "plain": {}})
    source = folder_of(tmp_path / "tuned", *map(made_record, held_out.runs()), made_record(study.runs()[0]))
    merged = merge_records(study, folder_of(tmp_path / "merged"), [source])
    assert merged == Merged(1, 0, 4)
    assert str(merged) == "1 records added, 0 known before; 4 of other runs are ignored."


def test_a_changed_configuration_is_refused_and_nothing_is_added(tmp_path, study):
    first, second, *_ = study.runs()
    config = {**second.config.as_dict(), "learning_rate": 0.5, "corpus": "/elsewhere/text.txt"}
    changed = replace(made_record(second), config=make_config(config).as_dict())
    source = folder_of(tmp_path / "changed", made_record(first), changed)
    output = folder_of(tmp_path / "merged")
    with pytest.raises(SmoothCSEError) as error:
        merge_records(study, output, [source])
    assert str(error.value) == (
        f"{source / 'runs.jsonl'}: the run gs/seed-0 was trained with another configuration than that of the study "
        f"(corpus '/elsewhere/text.txt' instead of 'text.txt', learning_rate 0.5 instead of "
        f"{second.config.learning_rate}); merge runs of the same study, with the same paths."
    )
    assert not (output / "runs.jsonl").exists()
    append_record(source / "runs.jsonl", made_record(second))  # trained again since
    assert merge_records(study, output, [source]).added == 2


def test_other_texts_and_sources_without_records_are_refused(tmp_path, study):
    first, second, *_ = study.runs()
    output = folder_of(tmp_path / "merged", made_record(first, fingerprint="0123"))
    with pytest.raises(SmoothCSEError, match="trained on different texts"):
        merge_records(study, output, [folder_of(tmp_path / "other", made_record(second, fingerprint="4567"))])
    for missing in (folder_of(tmp_path / "empty"), tmp_path / "nowhere"):
        with pytest.raises(SmoothCSEError, match=r"has no records to merge; give the folder of a study"):
            merge_records(study, output, [missing])
    assert len(read_records(output / "runs.jsonl")) == 1


def test_the_command_merges_and_writes_the_tables_without_training(tmp_path, study, monkeypatch, capsys):
    monkeypatch.setattr(Subprocess, "train", lambda *_, **__: pytest.fail("a run was trained"))
    sources = shards(tmp_path, study)
    output = tmp_path / "merged"
    arguments = ["study", tmp_path / "study.yaml", "--output", output, "--merge"]
    assert run_here(*arguments, sources / "seed-0", "--merge", sources / "seed-3") == 0
    assert "6 records added, 0 known before." in capsys.readouterr().err
    assert "6 of 12 runs" in (output / "summary.md").read_text()


def test_a_shard_runs_its_seed_only(tmp_path, study, monkeypatch, capsys):
    asked = []

    def train(self, config, *, resume, overwrite):
        asked.append((config.seed, config.output.endswith(f"seed-{config.seed}")))
        raise RunFailed("see the log")

    monkeypatch.setattr(Subprocess, "train", train)
    file = tmp_path / "study.yaml"
    assert run_here("study", file, "--output", tmp_path / "shard", "--seed", 2, "--jobs", 1) == 2
    assert asked == [(2, True)] * 3
    capsys.readouterr()
    assert run_here("study", file, "--seed", 1, "--seed", 3, "--plan") == 0
    assert capsys.readouterr().out.split() == [f"{name}/seed-{n}" for n in (1, 3) for name in ("plain", "gs", "share")]
    assert run_here("study", file, "--seed", 7, "--plan") == 2
    assert "The study has no seed 7; its seeds are [0, 1, 2, 3]." in capsys.readouterr().err
