"""The studies of questions 3 and 5 of the smoothing protocol are written from the runs that tuned them."""

from __future__ import annotations

import json
import runpy
import sys

import pytest
import yaml

from repository import REPOSITORY
from smoothcse.experiments.study import read_study

SCRIPT = REPOSITORY / "docs" / "results" / "smoothing" / "tuned_studies.py"
TUNING_SEED = 99


@pytest.fixture
def write(monkeypatch, tmp_path):
    """Write the study files to a folder."""

    def run():
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--folder", str(tmp_path)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return tmp_path

    return run


def tune(folder, name, last) -> None:
    """Save runs of a tuning study, whose scores are those of a function of arm and point."""
    runs = read_study(folder / f"{name}-tune.yaml").runs()
    assert {run.seed for run in runs} == {TUNING_SEED}
    records = [
        {"variant": run.variant, "point": dict(run.point), "last": last(run.variant, run.point)} for run in runs
    ]
    (folder / f"{name}-tune").mkdir(exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / f"{name}-tune" / "runs.jsonl").write_text(lines)


def read(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def test_the_files_beside_the_page_are_those_of_the_script(write):
    written = write()
    names = {file.name for file in written.iterdir()}
    assert names == {file.name for file in SCRIPT.parent.glob("*-tune.yaml")}
    for name in names:
        assert (SCRIPT.parent / name).read_text(encoding="utf-8") == (written / name).read_text(encoding="utf-8")


def test_a_study_whose_tuning_has_run_is_that_of_the_script(write):
    folder = write()
    for runs in SCRIPT.parent.glob("study-*-tune/runs.jsonl"):
        (folder / runs.parent.name).symlink_to(runs.parent)
    write()
    for file in folder.glob("study-[35]*.yaml"):
        assert (SCRIPT.parent / file.name).read_text(encoding="utf-8") == file.read_text(encoding="utf-8")


def test_each_method_gets_its_best_rate_on_seeds_that_did_not_tune_it(write):
    tune(write(), "study-5", lambda arm, point: point["learning_rate"] * (1 if arm == "sncse" else -1))
    study = read_study(write() / "study-5.yaml")
    rates = {name: fields["learning_rate"] for name, fields in study.variants.items()}
    methods = read(SCRIPT.with_name("study-5-tune.yaml"))["variants"]
    expected = {method: 2.4e-4 if method == "sncse" else 3.0e-5 for method in methods}
    assert rates == expected | {f"{method}-share": rate for method, rate in expected.items()}
    assert all((fields.get("noise_share") == 0.6) == ("share" in name) for name, fields in study.variants.items())
    assert TUNING_SEED not in study.seeds
    assert len(study.tests.differ) == 8 + 9


def test_each_batch_size_gets_the_rate_with_the_best_mean_over_the_tuned_arms(write):
    own = {("infonce", 64): 6.0e-5, ("share-0.4", 64): 6.0e-5, ("infonce", 256): 3.0e-5, ("share-0.4", 256): 2.4e-4}

    def last(arm, point):
        """The rates of its own are best for an arm at a size; 1.2e-4 is second, and best at 1,024."""
        rate = point["learning_rate"]
        return 80.0 if own.get((arm, point["batch_size"])) == rate else 75.0 if rate == 1.2e-4 else 60.0

    tune(write(), "study-3-sentences", last)
    study = read_study(write() / "study-3-sentences.yaml")
    rates = {size: fields["learning_rate"] for size, fields in study.grid["batch_size"].items()}
    assert rates == {64: 6.0e-5, 256: 1.2e-4, 1024: 1.2e-4}
    sentences = {run.config.batch_size * run.config.max_steps for run in study.runs()}
    assert sentences == {10_240}
    assert {run.seed for run in study.runs()}.isdisjoint({TUNING_SEED})
    vectors = {(run.config.batch_size, run.config.noise_for(run.config.batch_size)) for run in study.runs(["gs-3n"])}
    assert vectors == {(64, 192), (256, 768), (1024, 3072)}
    assert study.tests.differ == []
    assert ["share-0.4", "infonce"] in study.tests.slope


def test_equal_steps(write):
    tune(write(), "study-3-steps", lambda arm, point: 0.0)
    study = read_study(write() / "study-3-steps.yaml")
    assert {run.config.max_steps for run in study.runs()} == {10}


def test_an_interrupted_tuning_chooses_nothing(write):
    tune(folder := write(), "study-5", lambda arm, point: 0.0)
    runs = folder / "study-5-tune" / "runs.jsonl"
    runs.write_text("".join(runs.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(SystemExit, match=r"arccon has 3 of 4 runs"):
        write()
    assert not (folder / "study-5.yaml").exists()
