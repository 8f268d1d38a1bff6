"""Attention with the fast dropout is the host's attention but for which numbers are drawn."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gradients import assert_the_same, view_and_gradients
from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath import accelerate
from smoothcse.fastpath.attention import attend
from smoothcse.views.embed import embed_views
from tiny import save_tiny_model, sentences


def drop(model, rate):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
    return model


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("read_token", [False, True])
def test_values_and_gradients_stay_where_nothing_is_dropped(tmp_path, architecture, attention, read_token, fast):
    model = build_encoder(save_tiny_model(tmp_path, architecture), "cls", device="cpu").double()
    model[0].model.set_attn_implementation(attention)
    quick = copy.deepcopy(model)
    fast(quick, *["read token"] * read_token, "dropout", "attention")
    texts = sentences(40)
    expected = view_and_gradients(drop(model, 0.0), texts)
    assert_the_same(view_and_gradients(drop(quick, 0.0), texts), expected)


@pytest.mark.parametrize("mask", [None, "bool", "added"])
def test_shares_are_dropped_at_the_rate_and_scaled(mask):
    torch.manual_seed(0)
    rows, keys = 400, 32
    attention = SimpleNamespace(training=True, scaling=1.0, dropout=nn.Dropout(0.25))
    counted = torch.arange(keys).lt(16).expand(rows, 1, 1, keys)
    masks = {"bool": counted, "added": torch.zeros(counted.shape).masked_fill(~counted, -torch.inf), None: None}
    used = keys if mask is None else 16
    nothing, identity = torch.zeros(rows, 1, keys, 8), torch.eye(keys).expand(rows, 1, keys, keys)
    with accelerate(attention.dropout, parts=["dropout"]):
        shares = attend(attention, nothing, nothing, identity, masks[mask])
    assert (shares[..., used:] == 0).all()
    kept = shares[..., :used]
    assert ((kept == 0) | ((kept - 1 / used / 0.75).abs() < 1e-6)).all()
    assert (kept == 0).double().mean().item() == pytest.approx(0.25, abs=0.01)


def test_a_sentence_without_tokens_spoils_no_other(tiny_bert, fast):
    model = build_encoder(tiny_bert, "cls", device="cpu")
    fast(model, "dropout", "attention")
    features = drop(model, 0.0).train().preprocess(sentences(5))
    whole, _ = embed_views(model, [dict(features)])
    features["attention_mask"][2] = 0
    without, _ = embed_views(model, [dict(features)])
    assert without.isfinite().all()
    others = [0, 1, 3, 4]
    torch.testing.assert_close(without[others], whole[others])
    without.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_two_views_differ_by_the_dropout_of_attention_alone(tiny_bert, fast):
    model = build_encoder(tiny_bert, device="cpu").train()
    fast(model, "dropout", "attention")
    drop(model, 0.0)
    for layer in model[0].model.encoder.layer:
        layer.attention.self.dropout.p = 0.3
    first, second = embed_views(model, [model.preprocess(sentences(4))])
    assert (first != second).any(dim=1).all()


def test_evaluation_is_the_hosts(tiny_bert, fast):
    model, texts = build_encoder(tiny_bert, device="cpu"), sentences(12)
    before = model.encode(texts)
    fast(model, "dropout", "attention")
    assert (model.encode(texts) == before).all()


def test_what_else_is_asked_for_is_the_hosts_to_answer(tiny_bert, fast):
    model = build_encoder(tiny_bert, device="cpu")
    fast(model, "dropout", "attention")
    inner = model[0].model.train()
    inner.set_attn_implementation("eager")
    features = {name: value for name, value in model.preprocess(sentences(3)).items() if torch.is_tensor(value)}
    assert [one.shape[-1] for one in inner(**features, output_attentions=True).attentions] == [
        features["input_ids"].shape[1]
    ] * 2


@pytest.mark.parametrize("architecture", ["mpnet", "modernbert", "distilbert"])
def test_other_families_are_left_alone(tmp_path, architecture, fast):
    model = build_encoder(save_tiny_model(tmp_path, architecture), dropout=0.1, device="cpu")
    fast(model, "dropout", "attention")
    assert not any("forward" in vars(m) for m in model.modules() if not isinstance(m, nn.Dropout))


def test_torchs_dropout_is_left_alone(tiny_bert, fast):
    model = build_encoder(tiny_bert, device="cpu")
    fast(model, "attention")
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_model_can_be_handed_to_another_process(tiny_bert, fast):
    model = build_encoder(tiny_bert, device="cpu")
    fast(model, "dropout", "attention")
    handed = pickle.loads(pickle.dumps(model))
    attention = handed[0].model.encoder.layer[0].attention.self
    assert attention.forward.args[0] is attention
