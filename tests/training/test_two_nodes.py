"""Two torchrun launchers that meet over TCP, as on two machines, train what one process does with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file

from commands import run_here
from forked import free_port
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import read_manifest
from smoothcse.training import preflight

STEPS = 4
COMMAND = """
from smoothcse import cli
from smoothcse.training import preflight

preflight.require_two_views = lambda *_: None  # it would rightly refuse to train without dropout
cli.main()
"""
_NODE = {
    "SMOOTHCSE_CPU": "1",
    "OMP_NUM_THREADS": "1",
    "GLOO_SOCKET_IFNAME": "lo",
}


@pytest.fixture
def config(tiny_bert, corpus_file):
    """A run whose result does not depend on how its batches are shared, but for rounding.

    Its dropout is none in effect, as masks depend on the shape of a rank's batch. Adam's epsilon is far above the
    gradients: it would else blow the rounding of a small one up to a full step.
    """
    return {
        "corpus": str(corpus_file),
        "model": tiny_bert,
        "pooling": "mean",
        "batch_size": 8,
        "noise_count": 16,
        "dropout": 1e-9,
        "learning_rate": 1e-3,
        "adam_epsilon": 1.0,
        "max_grad_norm": 1e6,
        "max_steps": STEPS,
        "eval_steps": STEPS,
        "log_steps": 1,
        "precision": "fp32",
    }


def written(config, output):
    """Return the file of a configuration."""
    file = output.with_suffix(".yaml")
    file.write_text(yaml.safe_dump({**config, "output": str(output)}), encoding="utf-8")
    return file


@pytest.fixture
def start(config):
    """Return a function that starts a process of the run; none outlives the test."""
    started = []

    def start(launcher, output):
        script = output.with_suffix(".py")
        script.write_text(COMMAND, encoding="utf-8")
        command = [sys.executable, *launcher, str(script), "train", "--config", str(written(config, output))]
        started.append(subprocess.Popen(command, env={**os.environ, **_NODE}, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.terminate()  # torchrun passes it on to its workers
        process.wait(timeout=60)


def finish(process):
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return errors


def test_two_nodes_train_what_one_process_trains(start, config, tmp_path, monkeypatch, capfd):
    port = free_port()
    nodes = []
    for rank in range(2):
        launcher = ["-m", "torch.distributed.run", "--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1"]
        launcher += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"]
        nodes.append(start(launcher, tmp_path / "shared"))
    monkeypatch.setattr(preflight, "require_two_views", lambda *_: None)
    monkeypatch.setenv("SMOOTHCSE_CPU", "1")
    assert run_here("train", "--config", written(config, tmp_path / "alone")) == 0
    printed = [*map(finish, nodes), capfd.readouterr().err]
    assert ["The model is in" in text for text in printed] == [True, False, True]  # rank 0 alone speaks and writes

    one, two = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "shared")
    assert read_manifest(one.path).hardware.startswith("cpu")
    assert read_manifest(two.path).hardware.startswith("2 x cpu")
    losses = [[entry["loss"] for entry in run.metrics() if "loss" in entry] for run in (one, two)]
    assert len(losses[0]) == STEPS
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)

    before = load_file(f"{config['model']}/model.safetensors")
    alone, shared = (load_file(run.last / "model.safetensors") for run in (one, two))
    trained = [name for name in alone if not torch.equal(alone[name], before[name])]
    assert len(trained) > 20
    moved = torch.cat([(alone[name] - before[name]).flatten() for name in trained])
    apart = torch.cat([(alone[name] - shared[name]).flatten() for name in trained])
    assert apart.norm() < 1e-3 * moved.norm()
