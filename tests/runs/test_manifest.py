"""``run.json`` is read through one function: old manifests open, damaged and newer ones are refused in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.planned_runs import PlannedRun
from smoothcse.experiments.run_records import record_of
from smoothcse.hub.model_card import model_card
from smoothcse.report.facts import card
from smoothcse.report.read import read_run
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import SCHEMA_VERSION, Manifest, read_manifest, write_manifest
from smoothcse.runs.result import read_result

OLD_RUN = Path(__file__).parent / "old_run"
"""Manifest and metrics of a tiny run, as revision 085e4fb wrote them."""


@pytest.fixture
def old_run(tmp_path):
    return Path(shutil.copytree(OLD_RUN, tmp_path / "old-run"))


def values_of(folder):
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def test_every_reader_opens_a_run_of_an_earlier_version(old_run):
    recorded = values_of(old_run)
    assert "schema_version" not in recorded
    manifest = read_manifest(old_run)
    assert (manifest.schema_version, manifest.finished) == (1, True)
    assert read_result(old_run).best_score == recorded["result"]["best_score"]
    run = read_run(old_run)
    assert run.config == manifest.train_config()
    assert dict(card(run))["Fingerprint of the text"] == recorded["data"]["fingerprint"]
    assert "40 sentences kept of 40" in model_card(old_run, old_run / "best")
    record = record_of(PlannedRun("seed-42", "gs", run.config), RunFolder(old_run))
    assert (record.last, record.fingerprint) == (recorded["result"]["last_score"], recorded["data"]["fingerprint"])


def test_writing_a_manifest_back_changes_nothing(old_run):
    before = (old_run / "run.json").read_text(encoding="utf-8")
    write_manifest(old_run, read_manifest(old_run))
    assert json.loads((old_run / "run.json").read_text(encoding="utf-8")) == json.loads(before)
    assert not list(old_run.glob("*.new"))


def test_unknown_fields_are_kept(old_run):
    values = values_of(old_run) | {"colour": {"of": ["the", "sea"]}}
    values["data"]["language"] = "en"
    values["config"]["retired_field"] = 3
    (old_run / "run.json").write_text(json.dumps(values))
    write_manifest(old_run, read_manifest(old_run).replace(status="running"))
    assert values_of(old_run) == values | {"status": "running"}
    assert read_manifest(old_run).train_config().seed == values["config"]["seed"]


def test_a_newer_format_is_refused(old_run):
    newer = values_of(old_run) | {"schema_version": SCHEMA_VERSION + 1, "status": ["of", "another", "kind"]}
    (old_run / "run.json").write_text(json.dumps(newer))
    with pytest.raises(SmoothCSEError, match=rf"has format {SCHEMA_VERSION + 1}, .*; install a newer smoothcse"):
        read_manifest(old_run)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": "new"}, "schema_version is 'new', but"),
        ({"schema_version": 0}, "schema_version is 0, but"),
        ({"status": "dancing"}, "status is 'dancing', but"),
        ({"config": None}, "has no configuration of a run"),
        ({"data": 7}, "data is 7, but"),
        ({"data": {"columns": ["a"] * 4}}, "data.columns is"),
        ({"result": {"start_score": 1.0}}, "result.best_score is missing"),
        ({"times": {"total_seconds": "long"}}, "times.total_seconds is 'long', but"),
        ({"versions": {"torch": 2.9}}, "versions.torch is 2.9, but"),
        ({"git_commit": "x" * 100_000, "python": 3}, "python is 3, but"),
    ],
)
def test_a_damaged_manifest_is_refused_with_the_field(changes, said, old_run):
    (old_run / "run.json").write_text(json.dumps(values_of(old_run) | changes))
    with pytest.raises(SmoothCSEError) as error:
        read_manifest(old_run)
    assert str(error.value).startswith(str(old_run / "run.json"))
    assert said in str(error.value)


def test_a_replaced_field_is_checked():
    manifest = Manifest(config={})
    assert manifest.replace(status="finished").finished
    with pytest.raises(ValueError, match="status"):
        manifest.replace(status="dancing")


def test_a_card_of_an_incomplete_manifest_names_what_is_missing(old_run):
    values = values_of(old_run)
    del values["data"], values["versions"]
    (old_run / "run.json").write_text(json.dumps(values))
    with pytest.raises(SmoothCSEError, match=r"run\.json lacks data, versions"):
        model_card(old_run, old_run / "best")
