"""Gradient checkpointing changes the memory of a step, not its gradients, and says with what it does not work."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from interrupted import train_interrupted
from smoothcse import SmoothCSEError
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.gradient_checkpointing import checkpoint_gradients
from smoothcse.encoders.last_layers import train_last_layers
from smoothcse.encoders.lora import add_lora
from smoothcse.encoders.lora_settings import LoRA
from smoothcse.fastpath import PARTS, accelerate
from smoothcse.methods import GSInfoNCELoss
from smoothcse.runs.host_settings import check_trainer_args
from smoothcse.training import inputs as training_inputs
from smoothcse.training import make_config, train
from smoothcse.training.selection import DEV_SCORE, Criterion
from tiny import save_tiny_generator, save_tiny_model, sentences

QUIET = Console(quiet=True)
WITH_PEFT = importlib.util.find_spec("peft") is not None


def gradients(path, pooling, *, checkpointed, change=None, parts=PARTS):
    """Return the gradients of one batch of two dropout views, and how often the first layer ran."""
    encoder = build_encoder(path, pooling, dropout=0.1, device="cpu").train()
    if checkpointed:
        checkpoint_gradients(encoder, path)
    if change:
        change(encoder)
    layers = next(m for m in encoder[0].model.modules() if isinstance(m, torch.nn.ModuleList))
    inner = next(module for module in layers[0].modules() if isinstance(module, torch.nn.Linear))
    runs = []
    inner.register_forward_hook(lambda *call: runs.append(1))
    with accelerate(encoder, parts=parts):
        loss = GSInfoNCELoss(encoder, noise_count=4)
        torch.manual_seed(7)
        loss([encoder.preprocess(sentences(8))]).backward()
    return {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}, len(runs)


def adapters(encoder):
    torch.manual_seed(3)
    add_lora(encoder, LoRA(2, dropout=0.1), "it", seed=1)
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:  # 0 at the start, which would hide the gradient of A
            torch.nn.init.normal_(parameter, std=0.1)


@pytest.mark.parametrize(
    "change", [None, pytest.param(adapters, marks=pytest.mark.skipif(not WITH_PEFT, reason="peft"))]
)
@pytest.mark.parametrize(
    ("family", "pooling", "parts"), [("bert", "mean", PARTS), ("bert", "cls", ()), ("llama", None, PARTS)]
)
def test_gradients_equal_those_without_it(family, pooling, parts, change, tmp_path):
    save = save_tiny_model if family == "bert" else save_tiny_generator
    path = save(tmp_path / family, family, **({} if family == "bert" else {"pad_token": "[PAD]"}))
    expected, once = gradients(path, pooling, checkpointed=False, change=change, parts=parts)
    found, twice = gradients(path, pooling, checkpointed=True, change=change, parts=parts)
    assert twice == 2 * once
    assert found.keys() == expected.keys()
    assert max(gradient.abs().max() for gradient in expected.values()) > 1e-4
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


def test_the_fast_last_layer_leaves_a_checkpointed_one_alone(tiny_bert):
    expected, _ = gradients(tiny_bert, "cls", checkpointed=True, parts=())
    found, _ = gradients(tiny_bert, "cls", checkpointed=True, parts=("read token",))
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


def test_frozen_layers_stay_out_of_the_backward_pass(tiny_bert):
    _, runs = gradients(tiny_bert, "mean", checkpointed=True, change=lambda e: train_last_layers(e, 1, "it"), parts=())
    assert runs == 1


@pytest.fixture
def config(tiny_bert, corpus_file, tmp_path, monkeypatch):
    criterion = Criterion("a constant", lambda model: {DEV_SCORE: 0.0})
    monkeypatch.setattr(training_inputs, "choose_criterion", lambda config, corpus: criterion)
    fields = {"corpus": str(corpus_file), "model": tiny_bert, "output": str(tmp_path / "run"), "pooling": "mean"}
    fields |= {"batch_size": 8, "noise_count": 8, "eval_steps": 2, "log_steps": 1, "precision": "fp32"}
    return make_config({**fields, "learning_rate": 1e-2, "max_steps": 4})


def test_a_resumed_run_equals_one_without_it(config, tmp_path, monkeypatch):
    whole = train(config, console=QUIET)
    changes = {"gradient_checkpointing": True, "output": str(tmp_path / "checkpointed")}
    resumed = train_interrupted(config.replace(**changes), 3, monkeypatch)
    expected, found = (load_file(result.last / "model.safetensors") for result in (whole, resumed))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_gradient_caching_is_refused(config):
    for mini_batch in ("auto", 64):
        with pytest.raises(SmoothCSEError, match=r"caching already encodes .* twice .* give one of them\.$"):
            config.replace(gradient_checkpointing=True, mini_batch=mini_batch)


def test_a_class_without_it_is_named_before_anything_is_written(config, tmp_path):
    model = save_tiny_model(tmp_path / "mpnet", "mpnet")
    with pytest.raises(SmoothCSEError, match=r"not supported by MPNetModel, the class of .*mpnet; .*\.$"):
        train(config.replace(model=model, gradient_checkpointing=True), console=QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "name", ["gradient_checkpointing", "activation_checkpointing", "gradient_checkpointing_kwargs"]
)
def test_the_hosts_own_arguments_are_replaced_by_the_field(name):
    with pytest.raises(SmoothCSEError, match="field gradient_checkpointing"):
        check_trainer_args({name: True})
