"""Decay toward the start and training of the last layers: in runs, resumed, accumulated and cached.

test_distributed.py has two ranks.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from interrupted import train_interrupted
from smoothcse import SmoothCSEError, TrainConfig
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.projection import head_of
from smoothcse.report.facts import card
from smoothcse.report.read import read_run
from smoothcse.training import inputs as training_inputs
from smoothcse.training import make_config, train
from smoothcse.training.callbacks import StartDecay
from smoothcse.training.selection import DEV_SCORE, Criterion

QUIET = Console(quiet=True)


@pytest.fixture
def config(tiny_bert, corpus_file, tmp_path, monkeypatch):
    criterion = Criterion("a constant", lambda model: {DEV_SCORE: 0.0})
    monkeypatch.setattr(training_inputs, "choose_criterion", lambda config, corpus: criterion)
    fields = {"corpus": str(corpus_file), "model": tiny_bert, "output": str(tmp_path / "run")}
    fields |= {"batch_size": 8, "noise_count": 8, "eval_steps": 2, "log_steps": 1, "precision": "fp32"}
    return make_config({**fields, "learning_rate": 1e-3, "max_steps": 1})


def weights(result):
    return load_file(result.last / "model.safetensors")


def start_of(config):
    return build_encoder(config.model, projection=False, device="cpu")[0].model.state_dict()


# The callback


def test_each_step_is_that_of_a_loop_and_a_skipped_one_changes_nothing(tiny_bert):
    model = build_encoder(tiny_bert, device="cpu")
    start = copy.deepcopy(model.state_dict())
    callback = StartDecay(model, 50.0)
    head, body = [*head_of(model).parameters()], [p for p in model[0].parameters() if p.requires_grad]
    groups = [{"params": body[::2], "lr": 0.01}, {"params": [*body[1::2], *head], "lr": 0.004}]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.5
    moved = copy.deepcopy(model.state_dict())
    for skipped in (True, False):
        optimizer = SimpleNamespace(param_groups=groups, step_was_skipped=skipped)
        callback.on_train_begin(None, None, None)
        callback.on_optimizer_step(None, None, None, optimizer=optimizer)
        if skipped:
            assert all(torch.equal(tensor, moved[name]) for name, tensor in model.state_dict().items())
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        rate = 0.0 if any(parameter is p for p in head) else rates.get(id(parameter), 0.0)
        for found, before, theta0 in zip(
            parameter.flatten()[:5].tolist(),
            moved[name].flatten().tolist(),
            start[name].flatten().tolist(),
            strict=False,
        ):
            assert found == pytest.approx(before - rate * 50.0 * (before - theta0), abs=1e-6)


# Runs


OTHER_WAYS = {"fast_path": False, "mini_batch": 60, "trainer_args": {"gradient_accumulation_steps": 2}}


@pytest.mark.parametrize("fields", [{}, OTHER_WAYS], ids=["fast", "plain, cached, accumulated"])
def test_one_pull_for_each_step_of_the_optimizer(fields, config, tmp_path):
    start = start_of(config)
    free = weights(train(config.replace(**fields), console=QUIET))
    pulled = weights(train(config.replace(**fields, start_decay=250, output=str(tmp_path / "pulled")), console=QUIET))
    assert any(not torch.equal(tensor, start[name]) for name, tensor in free.items())
    for name, tensor in free.items():
        torch.testing.assert_close(pulled[name], start[name] + 0.75 * (tensor - start[name]), rtol=0, atol=1e-7)


def test_a_resumed_run_equals_one_never_interrupted(config, tmp_path, monkeypatch):
    config = config.replace(start_decay=200, max_steps=4, **OTHER_WAYS)
    whole = train(config, console=QUIET)
    cut = config.replace(output=str(tmp_path / "cut"))
    resumed = weights(train_interrupted(cut, 3, monkeypatch))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in weights(whole).items())


@pytest.mark.parametrize("fields", [{}, OTHER_WAYS], ids=["fast", "plain, cached, accumulated"])
def test_the_first_layers_stay_and_the_card_says_how_much_is_trained(fields, config, capsys):
    start, console = start_of(config), Console(width=300)
    result = train(config.replace(**fields, train_layers=1, start_decay=5, max_steps=2), console=console)
    trained = weights(result)
    changed = {name for name, tensor in trained.items() if not torch.equal(tensor, start[name])}
    assert changed
    assert all(name.startswith("encoder.layer.1.") for name in changed)
    printed, words = capsys.readouterr().out, "decay 5 toward the start; transformer layers trained: the last 1"
    assert words in printed
    assert "0.0M trainable parameters and 0.0M frozen ones" in printed  # it is tiny
    assert dict(card(read_run(result.folder)))["Weights"] == words


def test_a_method_with_templates_and_a_momentum_encoder_trains_its_last_layer(config, tmp_path):
    templates = {"name": "promptbert", "anchor": "the {sentence} {mask}", "positive": "{sentence} and {mask}"}
    start = start_of(config)
    for number, method in enumerate((templates, "esimcse")):
        fields = {"method": method, "train_layers": 1, "start_decay": 10, "output": str(tmp_path / str(number))}
        trained = weights(train(config.replace(**fields), console=QUIET))
        changed = [name for name, tensor in trained.items() if name in start and not torch.equal(tensor, start[name])]
        assert changed
        assert all(name.startswith("encoder.layer.1.") for name in changed)


def test_a_decay_past_the_start_is_refused():
    with pytest.raises(
        SmoothCSEError, match=r"start_decay 2000 at learning_rate 0\.001 pulls the weights past the start"
    ):
        TrainConfig(learning_rate=1e-3, start_decay=2000)
    with pytest.raises(SmoothCSEError, match="train_layers is 0"):
        TrainConfig(train_layers=0)
