"""Layers in bf16: as near to fp32 as autocast is, from weights that stay fp32 and are never stale."""

from __future__ import annotations

import copy
import json
from statistics import mean

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from gradients import view_and_gradients, without_dropout
from interrupted import train_interrupted
from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath import PARTS, accelerate
from smoothcse.fastpath.bf16_layers import Bf16Weights, _linear
from smoothcse.methods import GSInfoNCELoss
from smoothcse.methods.cached import CachedGSInfoNCELoss
from smoothcse.training import inputs as training_inputs
from smoothcse.training import make_config, train
from smoothcse.training import plan as training_plan
from smoothcse.training.selection import DEV_SCORE, Criterion
from tiny import save_tiny_model, sentences

OTHERS = [part for part in PARTS if part != "bf16 layers"]


def autocast(enabled=True):
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled)


def in_bf16(model):
    """Return the layers that compute with bf16 copies of their weights."""
    return [module for module in model.modules() if any(isinstance(x, Bf16Weights) for x in given(module))]


def given(module):
    return getattr(vars(module).get("forward"), "args", ())


def flat(result):
    view, gradients = result
    return torch.cat([view.float().flatten(), *(g.flatten() for g in gradients.values() if g is not None)])


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_views_and_gradients_are_as_near_to_fp32_as_those_of_autocast(architecture, tmp_path):
    model = without_dropout(build_encoder(save_tiny_model(tmp_path, architecture), "cls", dropout=0.1, device="cpu"))
    exact, found = flat(view_and_gradients(copy.deepcopy(model), sentences(40))), {}
    for parts in (tuple(OTHERS), PARTS):
        with accelerate(model, parts=parts, precision="bf16"), autocast():
            model.zero_grad()
            assert bool(in_bf16(model)) == (parts == PARTS)
            found[parts] = view_and_gradients(model, sentences(40))
    assert all(gradient.dtype == torch.float32 for gradient in found[PARTS][1].values() if gradient is not None)
    errors = {parts: float((flat(result) - exact).norm() / exact.norm()) for parts, result in found.items()}
    assert 0 < errors[PARTS] < 3 * errors[tuple(OTHERS)] < 0.02


def test_without_autocast_the_layers_compute_in_fp32(tiny_bert):
    model = build_encoder(tiny_bert, "cls", device="cpu").eval()
    column = model.preprocess(sentences(5))
    expected = model(dict(column))["token_embeddings"]
    with accelerate(model, parts=["bf16 layers"], precision="bf16"):
        assert torch.equal(model(dict(column))["token_embeddings"], expected)
        with autocast():
            rounded = model(dict(column))["token_embeddings"]
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - expected).abs().max() < 0.1


def test_only_steps_in_bf16_of_known_families_that_return_no_inner_states(tiny_bert, tmp_path):
    model = build_encoder(tiny_bert, "cls", device="cpu")
    linears = [m for m in model[0].model.encoder.modules() if isinstance(m, nn.Linear)]
    with accelerate(model, precision="bf16"):
        assert in_bf16(model) == linears
    with accelerate(model, precision="fp32"):
        assert not in_bf16(model)
    unfit = [build_encoder(tiny_bert, "avg_first_last", device="cpu")]
    unfit.append(build_encoder(save_tiny_model(tmp_path, "mpnet"), "cls", dropout=0.1, device="cpu"))
    model[0].model.peft_config = {"default": None}
    for other in (*unfit, model):
        with accelerate(other, precision="bf16"):
            assert not in_bf16(other)


class WritesToData(torch.optim.Optimizer):
    """Optimizer that changes the weights without counting a version, as some do."""

    def __init__(self, weights):
        super().__init__(weights, {})

    def step(self, closure=None):
        for weight in self.param_groups[0]["params"]:
            weight.data.mul_(2)


@pytest.mark.parametrize("way", ["fused AdamW", "data", "in place", "loaded"])
def test_copies_follow_every_change_of_the_weights(way, tiny_bert):
    model = build_encoder(tiny_bert, "cls", device="cpu")
    layer = model[0].model.encoder.layer[0].output.dense
    with accelerate(model, precision="bf16"):
        copies = given(layer)[1]
        before = copies.of(layer)[0]
        assert copies.of(layer)[0] is before
        if way == "fused AdamW":
            layer.weight.grad = torch.ones_like(layer.weight)
            torch.optim.AdamW([layer.weight], lr=0.1, fused=True).step()
        elif way == "data":
            WritesToData([layer.weight]).step()
        elif way == "in place":
            torch._foreach_mul_([layer.weight.detach()], 2.0)
        else:
            layer.load_state_dict({name: 2 * value for name, value in layer.state_dict().items()})
        after = copies.of(layer)[0]
    assert not torch.equal(after, before)
    assert torch.equal(after, layer.weight.detach().bfloat16())


def test_frozen_weights_and_layers_without_bias_get_no_gradient():
    layer, copies = nn.Linear(3, 5, bias=False), Bf16Weights()
    states = torch.randn(2, 7, 3, dtype=torch.bfloat16, requires_grad=True)
    layer.weight.requires_grad_(False)
    computed = _linear(layer, copies, states[:, :1])
    computed.sum().backward()
    assert computed.shape == (2, 1, 5)
    assert layer.weight.grad is None
    torch.testing.assert_close(states.grad[0, 0].float(), layer.weight.sum(dim=0), rtol=0.02, atol=0.02)


def test_gradient_caching_gives_the_gradient_of_the_batch_in_one_piece(tiny_bert):
    model = without_dropout(build_encoder(tiny_bert, "mean", device="cpu")).train()
    with torch.no_grad():
        model[0].model.get_input_embeddings().weight.mul_(50)  # else all embeddings are equal up to the rounding
    found = []
    with accelerate(model, precision="bf16"):
        model.forward = autocast()(model.forward)  # as the trainer does; the loss stays in fp32
        for loss in (GSInfoNCELoss(model), CachedGSInfoNCELoss(model, mini_batch_tokens=64)):
            model.zero_grad()
            loss.loss_at(1, [model.preprocess(sentences(24, seed)) for seed in (0, 1)]).backward()
            found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    plain, cached = found
    assert 0 < (cached - plain).norm() < 0.02 * plain.norm()


@pytest.fixture
def config(tiny_bert, corpus_file, tmp_path, monkeypatch):
    criterion = Criterion("a constant", lambda model: {DEV_SCORE: 0.0})
    monkeypatch.setattr(training_inputs, "choose_criterion", lambda config, corpus: criterion)
    fields = {"corpus": str(corpus_file), "model": tiny_bert, "output": str(tmp_path / "run"), "precision": "bf16"}
    fields |= {"batch_size": 8, "noise_count": 0, "eval_steps": 2, "log_steps": 1, "max_steps": 4}
    return make_config({**fields, "learning_rate": 1e-3})


def test_a_resumed_run_in_bf16_equals_one_that_was_never_interrupted_and_saves_fp32(config, tmp_path, monkeypatch):
    never = train(config.replace(output=str(tmp_path / "never")), console=Console(quiet=True))
    resumed = train_interrupted(config, 3, monkeypatch)
    ours, theirs = (load_file(result.last / "model.safetensors") for result in (resumed, never))
    for name, tensor in ours.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, theirs[name]), name


def test_the_loss_falls_as_under_autocast(config, tmp_path, monkeypatch):
    """The two draw the same noise and dropout, so that their losses differ by rounding alone."""
    curves = []
    for number, parts in enumerate([PARTS, OTHERS]):
        monkeypatch.setattr(training_plan, "PARTS", parts)
        folder = tmp_path / str(number)
        train(config.replace(output=str(folder), max_steps=12, eval_steps=12), console=Console(quiet=True))
        curves.append(losses(folder))
    ours, autocasts = curves
    assert len(ours) == 12
    assert ours != autocasts
    assert mean(ours[-3:]) < 0.9 * ours[0]
    assert max(abs(a - b) for a, b in zip(ours, autocasts, strict=True)) < 0.05 * ours[0]


def losses(folder):
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry]
