"""``smoothcse push`` to a local hub: files that are uploaded, and files that never are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
from sentence_transformers import SentenceTransformer

import loopback_upload
from commands import run_here
from loopback_hub import Fault, LoopbackHub
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import Manifest, write_manifest
from smoothcse.runs.model_folder import save_model
from smoothcse.runs.search_settings import SEARCH_SETTINGS, SearchSettings, write_search_settings

LEFT_BY_TRAINING = (
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "rng_state_0.pth",
    "trainer_state.json",
    "training_args.bin",
    "checkpoint-5/model.safetensors",
    "checkpoints/checkpoint-5/optimizer.pt",
    "runs/events.out.tfevents.1",
    ".git/config",
    ".cache/secret",
    "model.safetensors.new",
)


@pytest.fixture
def hub(tmp_path):
    with LoopbackHub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture(scope="module")
def tiny(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "tiny"
    SentenceTransformer(tiny_bert, device="cpu").save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def run(tmp_path, tiny, tiny_bert):
    """A run folder as training leaves it, with a real model."""
    folder = RunFolder(tmp_path / "my-run")
    folder.path.mkdir()
    save_model(SentenceTransformer(str(tiny), device="cpu"), folder.best, {"step": 4, "score": 51.5})
    write_search_settings(folder.best, SearchSettings(cosine_weight=0.6))
    write_manifest(folder.path, Manifest.model_validate(manifest(tiny_bert)))
    (folder.checkpoints / "checkpoint-4").mkdir(parents=True)
    (folder.checkpoints / "checkpoint-4" / "optimizer.pt").write_bytes(b"moments")
    return folder.path


def manifest(start: str) -> dict:
    return {
        "status": "finished",
        "config": {"corpus": "/home/somebody/private/notes.txt", "model": start, "pooling": "cls", "seed": 42,
                   "batch_size": 8, "noise_count": 8, "temperature": 0.05},
        "data": {"read": 40, "kept": 39, "fingerprint": "00ff"},
        "hardware": "cpu (1 threads, x86_64), fp32",
        "versions": {"smoothcse": "0.1.0"},
        "result": {"start_score": 50.0, "best_score": 51.5, "best_step": 4, "last_score": 51.0,
                   "criterion": "STS-B dev, Spearman x 100"},
        "times": {"total_seconds": 60.0},
    }  # fmt: skip


def push_from_a_new_process(hub_url, *arguments):
    """Run the command as a user does, who sets environment variables; the client reads them when it is imported."""
    variables = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    variables |= {"HF_ENDPOINT": hub_url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": loopback_upload.TOKEN}
    command = [sys.executable, "-m", "smoothcse", "push", *map(str, arguments)]
    environment = {**variables, "HF_HOME": "/nonexistent"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def push(monkeypatch, capsys, no_backoff):
    """Runs the command in this process, with the constants that the client would read from the environment."""

    def push(hub_url, *arguments, token=loopback_upload.TOKEN, offline=False):
        constants = {"ENDPOINT": hub_url, "HF_HUB_OFFLINE": offline, "HF_HUB_DISABLE_XET": True}
        for name, value in {**constants, "HF_TOKEN_PATH": "/nonexistent/token"}.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setenv("HF_TOKEN", token)
        capsys.readouterr()
        code = run_here("push", *arguments)
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return push


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_uploaded_byte_for_byte_with_a_card(hub, run):
    before = contents(run)
    result = push_from_a_new_process(hub.url, run, "me/tiny")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"{hub.url}/me/tiny/commit/")
    assert contents(run) == before
    arrived = contents(hub.root / "models" / "me" / "tiny")
    card = arrived.pop("README.md").decode()
    assert arrived == contents(run / "best")
    assert SEARCH_SETTINGS in arrived
    assert max(map(len, arrived.values())) > loopback_upload.LARGE  # so both upload methods were used
    assert min(map(len, arrived.values())) < loopback_upload.LARGE
    assert 'SentenceTransformer("me/tiny")' in card
    assert hub.count("POST", "/commit/main") == 1
    settings = json.loads((hub.root / "settings" / "me" / "tiny.json").read_text())
    assert settings["visibility"] == "private"
    sent, received = (
        SentenceTransformer(str(folder), device="cpu").encode(["the cat"])
        for folder in (run / "best", hub.root / "models" / "me" / "tiny")
    )
    assert (sent == received).all()


def test_files_of_training_are_never_uploaded(push, hub, run):
    for name in LEFT_BY_TRAINING:
        path = run / "best" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not the model")
    (run / "best" / "README.md").write_text("---\nlicense: mit\n---\nMy own words.\n")
    result = push(hub.url, run / "best", "me/tiny", "--public")
    assert result.returncode == 0, result.stderr
    arrived = contents(hub.root / "models" / "me" / "tiny")
    assert not {name for name, data in arrived.items() if data == b"not the model"}
    assert set(arrived) == set(contents(run / "best")) - set(LEFT_BY_TRAINING)
    assert arrived["README.md"].endswith(b"My own words.\n")
    assert json.loads((hub.root / "settings" / "me" / "tiny.json").read_text())["visibility"] == "public"


def test_the_model_of_an_adaptation_is_uploaded(push, hub, run, tmp_path):
    shutil.copytree(run / "best", tmp_path / "my" / "model")
    (tmp_path / "my" / "adapt.json").write_text("{}")
    result = push(hub.url, tmp_path / "my", "me/tiny")
    assert result.returncode == 0, result.stderr
    assert set(contents(hub.root / "models" / "me" / "tiny")) >= set(contents(run / "best"))


def test_a_second_push_replaces_changed_files(push, hub, run):
    assert push(hub.url, run, "me/tiny").returncode == 0
    (run / "best" / "smoothcse.json").write_text('{"step": 5}\n')
    assert push(hub.url, run, "me/tiny").returncode == 0
    assert (hub.root / "models" / "me" / "tiny" / "smoothcse.json").read_text() == '{"step": 5}\n'


def check_refusal(result, *parts):
    assert result.returncode == 2, result.stderr
    [line] = result.stderr.splitlines()
    assert line.startswith("smoothcse: ")
    for part in parts:
        assert part in line


def test_errors_are_one_sentence_and_upload_nothing(push, hub, run, tmp_path):
    (tmp_path / "text").mkdir()
    check_refusal(push(hub.url, tmp_path / "text", "me/tiny"), "contains no model")
    check_refusal(push(hub.url, tmp_path / "nothing", "me/tiny"), "is not a folder on this machine")
    check_refusal(push(hub.url, run, "tiny"), "write owner/name")
    check_refusal(push(hub.url, run, "me/tiny", token=""), "No token for the hub", "hf auth login")
    assert not hub.requests
    check_refusal(push(hub.url, run, "me/tiny", token="hf_other"), "does not allow your token to write", "401")
    assert not (hub.root / "models").exists()
    check_refusal(push("http://127.0.0.1:9", run, "me/tiny"), "cannot be pushed", "check the network and HF_ENDPOINT")
    check_refusal(push(hub.url, run, "me/tiny", offline=True), "unset it")


def test_a_failed_commit_uploads_nothing(push, hub, run):
    hub.inject(Fault("/commit/main", status=403, method="POST"))
    check_refusal(push(hub.url, run, "me/tiny"), "does not allow your token to write", "403")
    assert not contents(hub.root / "models" / "me" / "tiny")


def test_runs_of_several_seeds_are_pushed_one_by_one(push, hub, tmp_path):
    for seed in (42, 43):
        (tmp_path / "seeds" / f"seed-{seed}").mkdir(parents=True)
    (tmp_path / "seeds" / "seeds.json").write_text("{}")
    check_refusal(push(hub.url, tmp_path / "seeds", "me/tiny"), "one run per seed (seed-42, seed-43)")
