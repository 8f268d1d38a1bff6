"""What holds for every method: it trains, resumes exactly, caches exactly, and its model is a plain one."""

from __future__ import annotations

import math
import re

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from torch.nn.modules.module import register_module_forward_hook
from transformers.models.bert.modeling_bert import BertSelfAttention

from interrupted import train_interrupted
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.fastpath.patches import Patches
from smoothcse.methods import with_gradient_caching
from smoothcse.methods.table import METHODS, find_method, make_settings
from smoothcse.objectives import Noise
from smoothcse.runs.folder import RunFolder
from smoothcse.training import make_config, train
from smoothcse.training.plan import plan_run
from smoothcse.training.selection import DEV_SCORE
from tiny import sentences

QUIET = Console(quiet=True)

SMALL = {
    "simcse": {"symmetric": True, "mlm_weight": 0.2, "mlm_probability": 0.3},
    "esimcse": {"queue_size": 10, "repetition_rate": 0.9},
    "is-cse": {"buffer_size": 16, "neighbours": 3},
    "debcse": {"candidates": 4, "block_size": 20},
    "arccon": {"margin": 25},
    "sncse": {"anchor": "the {sentence} {mask}", "positive": "a {sentence} and {mask}", "weight": 0.5},
    "conpvp": {"prompt_tokens": 2},
    "promptbert": {"anchor": "the {sentence} {mask}", "positive": "{sentence} and {mask}"},
}
"""Settings with which what a method keeps comes into play within a few small steps."""


@pytest.fixture
def config(tiny_bert, corpus_file, tmp_path):
    fields = {"model": tiny_bert, "batch_size": 4, "noise_count": 8, "eval_steps": 6, "log_steps": 1, "max_steps": 20}
    fields |= {"corpus": str(corpus_file), "output": str(tmp_path / "run"), "precision": "fp32", "epochs": 2}
    return make_config({**fields, "learning_rate": 1e-3})


def losses(folder):
    return {entry["step"]: entry["loss"] for entry in RunFolder(folder).metrics() if "loss" in entry}


@pytest.mark.parametrize("name", METHODS)
def test_twenty_steps_resumed_equal_twenty_steps_and_the_model_is_a_plain_one(name, config, tmp_path, monkeypatch):
    whole = train(config.replace(method=name, settings=SMALL.get(name)), console=QUIET)
    assert len(losses(whole.folder)) == 20
    cut = config.replace(method=name, settings=SMALL.get(name), output=str(tmp_path / "cut"))
    resumed = train_interrupted(cut, 14, monkeypatch)
    assert losses(resumed.folder) == losses(whole.folder)
    first, second = (load_file(run.last / "model.safetensors") for run in (whole, resumed))
    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())

    plain = SentenceTransformer(str(whole.last), device="cpu", trust_remote_code=False)
    assert all(type(module).__module__.startswith("sentence_transformers") for module in plain)
    texts = sentences(5, seed=3)
    apart = abs(encode(load_encoder(whole.last, device="cpu"), texts) - plain.encode(texts)).max()
    assert apart < 1e-5


@pytest.mark.parametrize("mini_batch", [None, 100])
@pytest.mark.parametrize("name", METHODS)
def test_each_step_computes_in_the_precision_asked_for(name, mini_batch, config):
    seen = []

    def look(module, given, output):
        if isinstance(module, BertSelfAttention) and module.training and torch.is_grad_enabled():
            seen.append(output[0].dtype)

    looking = register_module_forward_hook(look)
    try:
        asked = config.replace(
            method=name, settings=SMALL.get(name), precision="bf16", mini_batch=mini_batch, max_steps=2
        )
        train(asked, start_metrics={DEV_SCORE: 0.0}, console=QUIET)
    finally:
        looking.remove()
    assert len(seen) >= 4
    assert set(seen) == {torch.bfloat16}


def step(method, encoder, columns, tokens=None, **options):
    """Return the loss of two steps, so that what is remembered counts, and the gradients of the second."""
    torch.manual_seed(0)
    settings = make_settings(method, SMALL.get(method, {}))
    found = find_method(method)
    options |= {"settings": settings, "noise": Noise(8)}
    loss = (
        with_gradient_caching(found.loss)(encoder, mini_batch_tokens=tokens, **options)
        if tokens
        else found.loss(encoder, **options)
    ).double()
    values = []
    for number in range(2):
        encoder.zero_grad()
        loss.step, loss.progress = number, 0.5
        value = loss([dict(column) for column in columns])
        value.backward()
        values.append(value.item())
    return values, {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("tokens", [1, 40])
def test_gradient_caching_changes_nothing(name, tokens, tiny_bert):
    """Without dropout, as its masks depend on the pieces."""
    encoder = build_encoder(tiny_bert, device="cpu")
    method = find_method(name)
    encoder = method.prepare(encoder, make_settings(name, SMALL.get(name, {}))) if method.prepare else encoder
    encoder = encoder.eval().double()
    columns = [encoder.preprocess(sentences(9, seed=column)) for column in range(method.columns)]
    plain_values, plain = step(name, encoder, columns)
    cached_values, cached = step(name, encoder, columns, tokens)
    assert cached_values == pytest.approx(plain_values, rel=1e-9)
    assert cached.keys() == plain.keys()
    largest = max(gradient.abs().max() for gradient in plain.values())
    assert all((cached[key] - gradient).abs().max() < 1e-7 * largest for key, gradient in plain.items())


@pytest.mark.parametrize("name", METHODS)
def test_the_noise_reaches_every_method(name, tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    method = find_method(name)
    encoder = method.prepare(encoder, make_settings(name, SMALL.get(name, {}))) if method.prepare else encoder
    encoder.eval().double()  # the words of a random encoder are all alike, and noise is next to nothing beside them
    loss = method.loss(encoder, settings=make_settings(name, SMALL.get(name, {})), noise=Noise(8))
    columns = [encoder.preprocess(sentences(6, seed=column)) for column in range(method.columns)]
    smoothed = loss.loss_at(0, columns)
    assert 0 < loss.last_noise_share < 1
    plain = method.loss(encoder, settings=make_settings(name, SMALL.get(name, {}))).loss_at(0, columns)
    assert smoothed > plain


@pytest.mark.parametrize("name", [name for name in METHODS if find_method(name).symmetric])
def test_the_symmetric_form_replaces_the_contrast_by_the_mean_of_both_directions(name, tiny_bert, monkeypatch):
    encoder = build_encoder(tiny_bert, device="cpu")
    method, settings = find_method(name), make_settings(name, {} if name == "simcse" else SMALL.get(name, {}))
    encoder = method.prepare(encoder, settings) if method.prepare else encoder
    plain, symmetric = (method.loss(encoder, settings=settings, noise=Noise(8), symmetric=form) for form in (0, 1))
    views = torch.randn(2 if name in TWO_VIEWS else 3, 6, 32, generator=torch.Generator().manual_seed(0))
    asked = []
    original = plain.contrast
    monkeypatch.setattr(plain, "contrast", lambda *given: asked.append(given) or original(*given))
    value = plain.compute_loss_from_embeddings([*views])
    [(anchors, positives, *others)] = asked
    own = others[1] if len(others) > 1 else None
    one_way, other_way = original(anchors, positives, *others), original(positives, anchors, None, own)
    assert abs(one_way - other_way) > 1e-3
    expected = value + (other_way - one_way) / 2
    assert symmetric.compute_loss_from_embeddings([*views]).item() == pytest.approx(expected.item(), rel=1e-6)


TWO_VIEWS = ("simcse", "esimcse", "is-cse", "promptbert", "arccon")


def test_a_method_whose_directions_are_the_same_refuses_the_symmetric_form(config):
    with pytest.raises(SmoothCSEError, match="contrasts the same views in both directions"):
        train(config.replace(method="simcse++", symmetric=True), console=QUIET)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("arccon", {"adaptive_temperature": 0.5}, "which adaptive_temperature does not reach"),
        ("simcse++", {"key_gradient": "none"}, "which key_gradient does not reach"),
        ("promptbert", {"false_negative_threshold": 0.9}, "its start cannot judge negatives"),
    ],
)
def test_a_method_refuses_an_option_of_the_objective_that_it_would_ignore_or_distort(name, changes, message, config):
    with pytest.raises(SmoothCSEError, match=message):
        plan_run(config.replace(method=name, **changes))


@pytest.mark.parametrize("name", METHODS)
def test_a_setting_that_is_not_there_is_told(name):
    with pytest.raises(SmoothCSEError, match=f"The method {re.escape(name)} has no setting 'nothing'"):
        make_settings(name, {"nothing": 1})


def test_a_method_that_is_not_there_is_told(config):
    with pytest.raises(SmoothCSEError, match=r"no method 'simsce'\. Did you mean 'simcse'"):
        train(config.replace(method="simsce"), console=QUIET)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_without_the_fast_path(name, config, monkeypatch):
    monkeypatch.setattr(Patches, "replace", lambda *_: pytest.fail("a module was changed"))
    run = train(config.replace(method=name, settings=SMALL.get(name), max_steps=3, fast_path=False), console=QUIET)
    assert all(math.isfinite(loss) for loss in losses(run.folder).values())
    assert len(losses(run.folder)) == 3
