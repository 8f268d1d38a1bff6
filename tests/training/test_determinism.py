"""The contract of docs/explanations/determinism.md: what is bit-identical, and what is only close."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from smoothcse.runs.folder import RunFolder
from smoothcse.training import make_config, train
from smoothcse.training.determinism import deterministic_kernels
from tiny import sentences

QUIET = Console(quiet=True)


@pytest.fixture
def config(tiny_bert, corpus_file, tmp_path):
    fields = {"model": tiny_bert, "batch_size": 8, "noise_count": 16, "eval_steps": 4, "log_steps": 1}
    return make_config(
        {**fields, "corpus": str(corpus_file), "output": str(tmp_path / "run"), "max_steps": 4, "precision": "fp32"}
    )


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def outcome(config):
    train(config, console=QUIET)
    folder = RunFolder(config.output)
    losses = [entry["loss"] for entry in folder.metrics() if "loss" in entry]
    return losses, load_file(folder.last / "model.safetensors")


def test_deterministic_kernels_change_nothing_on_a_cpu(config, tmp_path):
    plain = outcome(config)
    strict = outcome(config.replace(output=str(tmp_path / "strict"), deterministic=True))
    assert plain[0] == strict[0]
    assert all(torch.equal(plain[1][name], strict[1][name]) for name in plain[1])


def test_kernels_are_deterministic_during_the_run_and_free_again_after_it(config, monkeypatch):
    seen = []
    preprocess = SentenceTransformer.preprocess
    monkeypatch.setattr(
        SentenceTransformer,
        "preprocess",
        lambda *a, **k: (seen.append(torch.are_deterministic_algorithms_enabled()), preprocess(*a, **k))[1],
    )
    outcome(config.replace(deterministic=True))
    assert seen[-1]
    assert not torch.are_deterministic_algorithms_enabled()


def test_deterministic_kernels_switch_the_settings_of_torch():
    with deterministic_kernels(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark
    with deterministic_kernels(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_other_threads_give_nearly_the_same(config, tmp_path, threads):
    threads(1)
    one, weights_of_one = outcome(config)
    threads(2)
    two, weights_of_two = outcome(config.replace(output=str(tmp_path / "two")))
    assert one == pytest.approx(two, rel=1e-4)
    # Adam makes a full step of any gradient, however small: weights whose gradient is rounding differ by such steps.
    apart = max((weights_of_one[name] - weights_of_two[name]).abs().max() for name in weights_of_one)
    assert apart <= 2 * config.max_steps * config.learning_rate


def test_workers_change_nothing(config, tmp_path):
    alone = outcome(config)
    ahead = outcome(config.replace(output=str(tmp_path / "ahead"), workers=2))
    assert alone[0] == ahead[0]
    assert all(torch.equal(alone[1][name], ahead[1][name]) for name in alone[1])


def test_an_encoding_does_not_depend_on_its_batch_but_for_rounding(tiny_bert):
    from smoothcse.encoders.inference import encode
    from smoothcse.encoders.load import load_encoder

    model = load_encoder(tiny_bert, device="cpu")
    texts = sentences(20)
    alone, together = encode(model, texts, batch_size=1), encode(model, texts, batch_size=20)
    assert abs(alone - together).max() < 1e-5
    assert (encode(model, texts, batch_size=20) == together).all()
