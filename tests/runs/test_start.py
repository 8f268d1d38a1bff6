"""A run and its folder: one process at a time, the same inputs when it resumes, and nothing left of a refused one."""

from __future__ import annotations

import os
import re
import shutil

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from smoothcse._utils.folder_lock import lock_folder
from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.seeds import train_seeds
from smoothcse.runs import start as run_start
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import Manifest, read_manifest, write_manifest
from smoothcse.training import execution, make_config, preflight, train
from smoothcse.training.callbacks import Metrics
from tiny import save_tiny_model, sentences

QUIET = Console(quiet=True)


def said(console):
    return " ".join(console.export_text().split())


def recording():
    return Console(record=True, quiet=False, file=open(os.devnull, "w"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A text, a model, and two runs of them: ``finished``, and ``cut``, which died in its fourth step."""
    home = tmp_path_factory.mktemp("home")
    (home / "text.txt").write_text("\n".join(sentences(40)) + "\n")
    save_tiny_model(home / "model")
    train(config_in(home, "finished"), console=QUIET)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Metrics, "on_log", dying_at(3))
        with pytest.raises(KeyboardInterrupt):
            train(config_in(home, "cut"), console=QUIET)
    return home


def dying_at(step):
    original = Metrics.on_log

    def on_log(self, args, state, control, logs, **kwargs):
        original(self, args, state, control, logs, **kwargs)
        if state.global_step == step and "loss" in logs:
            raise KeyboardInterrupt

    return on_log


def config_in(home, run):
    return make_config(
        {
            "corpus": str(home / "text.txt"), "model": str(home / "model"), "output": str(home / run), "batch_size": 8,
            "max_steps": 4, "eval_steps": 2, "log_steps": 1, "learning_rate": 1e-3, "precision": "fp32",
            "lr_scheduler": "constant", "noise_count": 4,
        }
    )  # fmt: skip


@pytest.fixture
def here(home, tmp_path, monkeypatch):
    """The same in a folder of its own, entered, so that all paths are relative and stay the same."""
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home"


def config(here, name, home):
    """The recorded configuration of a run, moved to the copy."""
    moved = config_in(here, name)
    write_manifest(here / name, read_manifest(here / name).replace(config=moved.as_dict()))
    return moved


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_text_under_the_same_path_is_refused(here, home):
    cut = config(here, "cut", home)
    then = read_manifest(cut.output).fingerprint
    (here / "text.txt").write_text("\n".join(sentences(40, seed=1)) + "\n")
    before = contents(here / "cut")
    with pytest.raises(SmoothCSEError, match=rf"its corpus has changed \(fingerprint {then} then, \w{{32}} now\)"):
        train(cut, resume=True, console=QUIET)
    assert contents(here / "cut") == before


def test_another_model_under_the_same_path_is_refused(here, home):
    cut = config(here, "cut", home)
    state = load_file(here / "model" / "model.safetensors")
    first = next(iter(state))
    save_tiny_model(here / "model", hidden_dropout_prob=0.3)
    assert torch.equal(load_file(here / "model" / "model.safetensors")[first], state[first])  # its weights are equal
    with pytest.raises(SmoothCSEError, match="its model has changed"):
        train(cut, resume=True, console=QUIET)


def test_other_dev_data_under_the_same_path_are_refused(here, home, monkeypatch):
    cut = config(here, "cut", home)
    write_manifest(cut.output, read_manifest(cut.output).replace(dev_fingerprint="0123"))
    with pytest.raises(SmoothCSEError, match="its dev data has changed"):
        train(cut, resume=True, console=QUIET)


def test_a_record_without_fingerprints_resumes(here, home):
    """As the versions before wrote it."""
    cut = config(here, "cut", home)
    new = ("schema_version", "model_fingerprint", "dev_fingerprint", "dev_precision", "pooling")
    fields = read_manifest(cut.output).as_dict()
    known = {name: value for name, value in fields.items() if name not in new}
    write_manifest(cut.output, Manifest.model_validate(known))
    console = recording()
    result = train(cut, resume=True, console=console)
    assert re.search(r"Resuming the run in \S+ after step 2\.", said(console))
    whole, resumed = (load_file(path / "last" / "model.safetensors") for path in (here / "finished", result.folder))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())


@pytest.mark.parametrize(
    "changes", [{"max_steps": 5}, {"model": "packaged-minilm"}, {"method": {"name": "simcse", "symmetric": True}}]
)
@pytest.mark.parametrize("name", ["cut", "finished"])
def test_another_configuration_is_refused(changes, name, here, home):
    other = config(here, name, home).replace(**changes)
    with pytest.raises(SmoothCSEError, match=f"another configuration; changed: .*{next(iter(changes))}"):
        train(other, resume=True, console=QUIET)


def test_a_finished_run_says_so_and_changes_nothing(here, home):
    finished = config(here, "finished", home)
    (here / "text.txt").unlink()  # it needs nothing any more
    before, console = contents(here / "finished"), recording()
    result = train(finished, resume=True, console=console)
    assert "is finished; nothing was changed" in said(console)
    assert contents(here / "finished") == before
    assert result.last_score == RunFolder(finished.output).score_at(4)


def test_a_run_cut_off_after_its_last_step_is_not_trained_further(here, home, monkeypatch):
    cut = config(here, "cut", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution.Execution, "_result", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(cut, resume=True, console=QUIET)
    shutil.rmtree(RunFolder(cut.output).last)
    resumed = train(cut, resume=True, console=QUIET)
    metrics = [[entry["step"] for entry in RunFolder(here / name).metrics()] for name in ("finished", "cut")]
    assert metrics[0] == metrics[1]
    assert resumed.as_dict() == read_manifest(here / "finished").result.model_dump()
    for model in ("best", "last"):
        whole, other = (load_file(here / name / model / "model.safetensors") for name in ("finished", "cut"))
        assert all(torch.equal(tensor, other[name]) for name, tensor in whole.items())


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}, {}])
def test_a_folder_in_use_is_refused_and_its_run_untouched(options, here, home):
    cut = config(here, "cut", home)
    before = contents(here / "cut")
    with lock_folder(here / "cut", remedy=""), pytest.raises(SmoothCSEError, match=f"use by process {os.getpid()} on"):
        train(cut, **options, console=QUIET)
    assert contents(here / "cut") == before


def interrupt(*_):
    raise KeyboardInterrupt


def refuse(*_):
    raise SmoothCSEError("no")


def test_a_refused_run_leaves_nothing(here, home, monkeypatch):
    monkeypatch.setattr(preflight, "require_two_views", refuse)
    new = config_in(here, "new")
    for _ in range(2):
        with pytest.raises(SmoothCSEError, match=r"^no$"):
            train(new, console=QUIET)
        assert not (here / "new").exists()


def test_a_refused_run_restores_the_previous_one(here, home, monkeypatch):
    finished = config(here, "finished", home)
    before = contents(here / "finished")
    monkeypatch.setattr(preflight, "require_two_views", refuse)
    with pytest.raises(SmoothCSEError, match=r"^no$"):
        train(finished.replace(seed=1), overwrite=True, console=QUIET)
    assert contents(here / "finished") == before


def test_a_run_killed_before_its_first_step_restores_the_previous_one(here, home, monkeypatch):
    finished = config(here, "finished", home)
    before = contents(here / "finished")

    with pytest.MonkeyPatch.context() as patch:  # what a kill leaves undone
        patch.setattr(execution, "settle", interrupt)
        patch.setattr(run_start, "_undo", lambda path: None)
        with pytest.raises(KeyboardInterrupt):
            train(finished.replace(seed=1), overwrite=True, console=QUIET)
    assert read_manifest(here / "finished").config["seed"] == 1
    with pytest.raises(SmoothCSEError, match="holds another run"):  # the one before
        train(finished, console=QUIET)
    assert contents(here / "finished") == before


def test_seeds_of_two_corpora_are_refused(here, home):
    series = config_in(here, "series").replace(max_steps=1)
    train(series.replace(output=str(here / "series" / "seed-42")), console=QUIET)
    (here / "text.txt").write_text("\n".join(sentences(40, seed=1)) + "\n")
    with pytest.raises(SmoothCSEError, match=r"seed-42 and .*seed-43 were trained on different texts"):
        train_seeds(series, 2, resume=True, console=QUIET)
    assert not (here / "series" / "seeds.json").exists()


def test_the_card_names_the_pooling(here, home):
    console = recording()
    train(config_in(here, "new").replace(max_steps=1), console=console)
    assert "read by cls pooling" in " ".join(said(console).replace("│", " ").split())


def test_a_record_with_the_settings_beside_the_method_resumes(here, home):
    """As the versions before wrote it."""
    cut = config(here, "cut", home)
    recorded = read_manifest(cut.output)
    older = {**recorded.config, "method": "simcse", "settings": {"symmetric": False}}
    del older["trainer_args"]
    write_manifest(cut.output, recorded.replace(config=older))
    console = recording()
    train(cut, resume=True, console=console)
    assert re.search(r"Resuming the run in \S+ after step 2\.", said(console))
