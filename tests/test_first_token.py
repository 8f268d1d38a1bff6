"""A last layer that computes [CLS] alone gives the embeddings and gradients of one that computes every token."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from smoothcse.encoder import build_encoder
from smoothcse.losses.views import embed_views
from smoothcse.training.dropout import use_fast_dropout
from smoothcse.training.first_token import use_first_token
from tiny import save_tiny_model, sentences


def _gradients(model, texts):
    """Return the first view of a batch in training mode without dropout, and what a loss does to each weight."""
    features = model.preprocess(texts)
    views = embed_views(model.train(), [features])
    torch.manual_seed(1)
    (views[0] * torch.randn_like(views[0])).sum().backward()
    return views[0].detach(), {name: weight.grad for name, weight in model.named_parameters()}


def _without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_values_and_gradients_stay(tmp_path, architecture, attention):
    model = _without_dropout(build_encoder(save_tiny_model(tmp_path, architecture), "cls", device="cpu")).double()
    model[0].model.set_attn_implementation(attention)
    short = copy.deepcopy(model)
    use_first_token(short)
    shapes = []
    short[0].model.encoder.layer[-1].register_forward_hook(lambda layer, _, output: shapes.append(tuple(output.shape)))
    texts = sentences(40)
    expected, expected_gradients = _gradients(model, texts)
    found, gradients = _gradients(short, texts)
    assert {shape[1] for shape in shapes} == {1}
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for name, gradient in expected_gradients.items():
        if gradient is None:
            assert gradients[name] is None
        else:
            torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-10, msg=name)


def test_evaluation_still_gives_every_token(tmp_path):
    model = build_encoder(save_tiny_model(tmp_path), "cls", device="cpu")
    [before] = model.encode(["the cat sat on a mat"], output_value="token_embeddings")
    use_first_token(model)
    [after] = model.encode(["the cat sat on a mat"], output_value="token_embeddings")
    assert len(after) > 2
    assert torch.equal(before, after)


@pytest.mark.parametrize(("architecture", "pooling"), [("bert", "mean"), ("bert", "avg_top2"), ("mpnet", "cls")])
def test_other_models_are_left_alone(tmp_path, architecture, pooling):
    model = build_encoder(save_tiny_model(tmp_path, architecture), pooling, device="cpu")
    use_first_token(model)
    assert not any("forward" in vars(module) for module in model.modules())


def test_dropout_acts_on_the_first_token_as_before(tmp_path):
    torch.manual_seed(0)
    model = build_encoder(save_tiny_model(tmp_path), "cls", device="cpu")
    features = model.preprocess(["the cat sat on a mat"] * 600)
    spreads = []
    for change in (lambda model: None, use_fast_dropout, use_first_token):
        change(model)
        with torch.no_grad():
            views = embed_views(model.train(), [dict(features)])
        spreads.append(torch.cat(views).std(dim=0).mean().item())
    assert spreads[0] > 0
    assert spreads[1:] == pytest.approx([spreads[0]] * 2, rel=0.1)


def test_a_model_can_be_handed_to_another_process(tmp_path):
    model = _without_dropout(build_encoder(save_tiny_model(tmp_path), "cls", device="cpu")).double()
    use_first_token(model)
    handed = pickle.loads(pickle.dumps(model))
    assert handed[0].model.encoder.layer[-1].forward.args[0] is handed[0].model.encoder.layer[-1]
    texts = sentences(6)
    found, gradients = _gradients(handed, texts)
    expected, expected_gradients = _gradients(model, texts)
    assert torch.equal(found, expected)
    reached = {name: gradient for name, gradient in gradients.items() if gradient is not None}
    assert all(torch.equal(gradient, expected_gradients[name]) for name, gradient in reached.items())
