"""Only complete checkpoints are resumed from, and a run that is asked to stop loses nothing."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from forked import start_command
from smoothcse._utils.atomic import recover_folder, replace_folder
from smoothcse.errors import SmoothCSEError, Stopped
from smoothcse.runs import checkpoints as checkpoints_module
from smoothcse.runs.checkpoints import CHECKSUMS, find_damage, newest_intact, write_checksums
from smoothcse.runs.folder import RunFolder
from smoothcse.training import make_config, train
from smoothcse.training.callbacks import metrics_log
from smoothcse.training.selection import CriterionEvaluator
from tiny import sentences

QUIET = Console(quiet=True)


def config_of(model, folder):
    (folder / "sentences.txt").write_text("\n".join(sentences(64)) + "\n", encoding="utf-8")
    fields = {"model": model, "batch_size": 8, "max_steps": 8, "learning_rate": 1e-3, "eval_steps": 2, "log_steps": 1}
    paths = {"corpus": str(folder / "sentences.txt"), "output": str(folder / "run")}
    return make_config({**fields, **paths, "precision": "fp32"})


@pytest.fixture
def config(tiny_bert, tmp_path):
    return config_of(tiny_bert, tmp_path)


@pytest.fixture(scope="module")
def whole(tiny_bert, tmp_path_factory):
    """A configuration, with the run of it that was left alone."""
    config = config_of(tiny_bert, tmp_path_factory.mktemp("whole"))
    train(config, console=QUIET)
    return config


@pytest.fixture(scope="module")
def cut(whole, tmp_path_factory):
    """The same, stopped after its fifth step."""
    config = whole.replace(output=str(tmp_path_factory.mktemp("cut") / "run"))
    stop_after(config, step=5)
    return config


@pytest.fixture
def checkpoints(tmp_path):
    for step in (9, 10):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "inner").mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(1000))
        (folder / "inner" / "state").write_text("state")
        write_checksums(folder)
    return tmp_path


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: flip(folder / "weights"), "weights is not what was written"),
        (lambda folder: (folder / "weights").write_bytes(bytes(999)), "weights is not what was written"),
        (lambda folder: (folder / "inner" / "state").unlink(), "inner/state is missing"),
        (lambda folder: (folder / CHECKSUMS).unlink(), "it was never finished"),
        (lambda folder: (folder / CHECKSUMS).write_text("{"), "checksums.json cannot be read"),
        (lambda folder: (folder / CHECKSUMS).write_text("[]"), "checksums.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_found_and_the_one_before_taken(damage, said, checkpoints):
    newest = checkpoints / "checkpoint-10"
    assert newest_intact(checkpoints) == newest
    damage(newest)
    assert said in find_damage(newest)
    assert newest_intact(checkpoints) == checkpoints / "checkpoint-9"


def test_checkpoints_of_earlier_versions_are_checked_by_their_own_checksum_file(checkpoints):
    newest = checkpoints / "checkpoint-10"
    (newest / CHECKSUMS).rename(newest / "seal.json")
    assert newest_intact(checkpoints) == newest
    flip(newest / "weights")
    assert newest_intact(checkpoints) == checkpoints / "checkpoint-9"
    (newest / "seal.json").write_text("{")
    assert "seal.json cannot be read" in find_damage(newest)


def test_replacing_a_folder_never_leaves_it_missing(tmp_path):
    target, new = tmp_path / "best", tmp_path / "best.new"
    for content in ("first", "second"):
        new.mkdir()
        (new / "file").write_text(content)
        replace_folder(new, target)
        assert (target / "file").read_text() == content
    target.rename(tmp_path / "best.old")  # as a kill between the two moves leaves it
    recover_folder(target)
    assert (target / "file").read_text() == "second"


@pytest.mark.parametrize("file", ["optimizer.pt", "model.safetensors", "rng_state.pth", "trainer_state.json"])
def test_a_run_resumed_past_a_damaged_checkpoint_says_so_and_ends_the_same(file, whole, cut, tmp_path, capsys):
    shutil.copytree(cut.output, tmp_path / "cut")
    newest = RunFolder(tmp_path / "cut").latest_checkpoint()
    flip(newest / file)
    resumed = train(cut.replace(output=str(tmp_path / "cut")), resume=True, console=Console(stderr=True))
    assert f"{newest.name} is skipped: {file} is not what was written" in " ".join(capsys.readouterr().err.split())
    assert ends_equal(RunFolder(whole.output).path, resumed.folder)


def test_a_run_whose_metrics_are_gone_cannot_be_resumed_and_says_so(cut, tmp_path):
    shutil.copytree(cut.output, tmp_path / "cut")
    RunFolder(tmp_path / "cut").metrics_file.unlink()
    with pytest.raises(SmoothCSEError, match=r"metrics.jsonl has no score of the start, .* restore the file"):
        train(cut.replace(output=str(tmp_path / "cut")), resume=True, console=QUIET)


def test_metrics_are_on_the_disk_before_a_checkpoint_counts(config, monkeypatch):
    written = []
    monkeypatch.setattr(metrics_log, "fsync", lambda path: written.append(path.name))
    original = checkpoints_module.write_checksums
    monkeypatch.setattr(
        checkpoints_module, "write_checksums", lambda path: (written.append("checksums"), original(path))
    )
    train(config.replace(max_steps=4), console=QUIET)
    assert written == ["metrics.jsonl", "checksums"] * 2


def stop_after(config, step):
    """Train with a SIGTERM that falls into a step or into the evaluation after it."""
    folder = RunFolder(config.output)

    def send():
        while not any(entry["step"] >= step for entry in folder.metrics()):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=send)
    thread.start()
    with pytest.raises(Stopped, match="has written a checkpoint; continue with --resume") as stopped:
        train(config, console=QUIET)
    thread.join()
    assert stopped.value.exit_code == 143


def ends_equal(first, second):
    return all(
        torch.equal(tensor, load_file(second / folder / "model.safetensors")[name])
        for folder in ("best", "last")
        for name, tensor in load_file(first / folder / "model.safetensors").items()
    )


def test_a_stopped_run_resumes_from_a_checkpoint_of_its_last_step(config, tmp_path):
    config = config.replace(max_steps=40, epochs=10, eval_steps=40)  # without the signal, no checkpoint before the end
    whole = train(config, console=QUIET)
    cut = config.replace(output=str(tmp_path / "cut"))
    stop_after(cut, step=3)
    folder = RunFolder(cut.output)
    stopped_at = max(entry["step"] for entry in folder.metrics())
    assert folder.latest_checkpoint().name == f"checkpoint-{stopped_at}"
    assert 3 <= stopped_at < 40
    assert not folder.finished
    resumed = train(cut, resume=True, console=QUIET)
    assert ends_equal(whole.folder, resumed.folder)
    traces = [[e["loss"] for e in RunFolder(run).metrics() if "loss" in e] for run in (config.output, cut.output)]
    assert traces[0] == traces[1]


def test_a_signal_during_an_evaluation_waits_for_its_checkpoint(whole, tmp_path, monkeypatch):
    cut = whole.replace(output=str(tmp_path / "cut"))
    original = CriterionEvaluator.__call__

    def interrupted(self, *args, **kwargs):
        if (tmp_path / "cut" / "checkpoints" / "checkpoint-2").exists():
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CriterionEvaluator, "__call__", interrupted)
        with pytest.raises(Stopped, match="stopped on SIGINT after step 4 of 8"):
            train(cut, console=QUIET)
    assert RunFolder(cut.output).latest_checkpoint().name == "checkpoint-4"
    assert ends_equal(RunFolder(whole.output).path, train(cut, resume=True, console=QUIET).folder)


def test_a_signal_after_the_last_step_finishes_the_run_and_ends_what_trains_it(whole, tmp_path, monkeypatch):
    late = whole.replace(output=str(tmp_path / "late"))
    original = CriterionEvaluator.__call__

    def interrupted(self, *args, **kwargs):
        if any(entry["step"] == 8 for entry in RunFolder(late.output).metrics()):
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(CriterionEvaluator, "__call__", interrupted)
        with pytest.raises(Stopped, match=r"received SIGTERM after its last step; it is finished\.$") as stopped:
            train(late, console=QUIET)
    assert stopped.value.exit_code == 143
    assert RunFolder(late.output).finished
    assert ends_equal(RunFolder(whole.output).path, RunFolder(late.output).path)


@pytest.mark.parametrize("devices", [1, 2])
def test_the_command_stops_cleanly_on_a_signal(devices, config, tmp_path):
    config = config.replace(max_steps=5000, epochs=1000, eval_steps=5000)
    file = tmp_path / "config.yaml"
    file.write_text("\n".join(f"{k}: {v}" for k, v in config.as_dict().items() if v is not None))
    folder, said = RunFolder(config.output), tmp_path / "said"
    run = start_command("train", "--config", file, "--devices", devices, said=said)
    while run.exitcode is None and not any(entry["step"] >= 2 for entry in folder.metrics()):
        time.sleep(0.05)
    run.terminate()
    run.join(60)
    message = said.read_text()
    assert run.exitcode == 143, message
    assert "continue with --resume" in message
    assert "Traceback" not in message
    assert folder.latest_checkpoint() is not None
