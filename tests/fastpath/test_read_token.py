"""A last layer that computes the read token alone gives the embeddings and gradients of one that computes all."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from gradients import assert_the_same, view_and_gradients, without_dropout
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.templates import with_template
from smoothcse.fastpath import accelerate
from smoothcse.views.embed import embed_views, read_without_dropout
from tiny import save_tiny_model, sentences


def _prompted(path, architecture="bert"):
    model = build_encoder(save_tiny_model(path, architecture), "cls", device="cpu")
    return with_template(model, "the cat {sentence} sat {mask} on")


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("read_at", ["cls", "mask", "two masks in a row"])
def test_values_and_gradients_stay(tmp_path, architecture, attention, read_at, fast):
    if read_at == "cls":
        model = build_encoder(save_tiny_model(tmp_path, architecture), "cls", device="cpu")
    else:
        model = _prompted(tmp_path, architecture)
    without_dropout(model).double()[0].model.set_attn_implementation(attention)
    short = copy.deepcopy(model)
    fast(short, "read token")
    computed = []
    feed_forward = short[0].model.encoder.layer[-1].output
    feed_forward.register_forward_hook(lambda layer, _, output: computed.append(output.shape[1]))
    texts = sentences(40)
    if read_at == "two masks in a row":
        texts = [f"{text} {model.tokenizer.mask_token}" for text in texts]
    expected = view_and_gradients(model, texts)
    found = view_and_gradients(short, texts)
    assert (max(computed) == 1) == (read_at != "two masks in a row")
    assert_the_same(found, expected)


@pytest.mark.parametrize("prompted", [False, True])
def test_a_view_without_dropout_is_what_encode_says(tmp_path, prompted, fast):
    model = _prompted(tmp_path) if prompted else build_encoder(save_tiny_model(tmp_path), "cls", device="cpu")
    model.train()
    texts = sentences(5)
    features = model.preprocess(texts)
    expected = read_without_dropout(model, features)
    fast(model, "read token", "dropout")
    torch.testing.assert_close(read_without_dropout(model, features), expected)
    assert model.training
    assert model[0].model.encoder.layer[-1].attention.self.training


@pytest.mark.parametrize("prompted", [False, True])
def test_evaluation_still_gives_every_token(tmp_path, prompted, fast):
    model = _prompted(tmp_path) if prompted else build_encoder(save_tiny_model(tmp_path), "cls", device="cpu")
    [before] = model.encode(["the cat sat on a mat"], output_value="token_embeddings")
    fast(model, "read token")
    [after] = model.encode(["the cat sat on a mat"], output_value="token_embeddings")
    assert len(after) > 2
    assert torch.equal(before, after)


@pytest.mark.parametrize(("architecture", "pooling"), [("bert", "mean"), ("bert", "avg_top2"), ("mpnet", "cls")])
def test_other_models_are_left_alone(tmp_path, architecture, pooling, fast):
    model = build_encoder(save_tiny_model(tmp_path, architecture), pooling, device="cpu")
    before = [vars(module).get("forward") for module in model.modules()]  # transformers 5.0 leaves some of its own
    fast(model, "read token")
    assert [vars(module).get("forward") for module in model.modules()] == before


def test_dropout_acts_on_the_first_token_as_before(tmp_path):
    torch.manual_seed(0)
    model = build_encoder(save_tiny_model(tmp_path), "cls", device="cpu")
    features = model.preprocess(["the cat sat on a mat"] * 600)
    spreads = []
    for parts in ([], ["dropout"], ["dropout", "read token"]):
        with torch.no_grad(), accelerate(model, parts=parts):
            views = embed_views(model.train(), [dict(features)])
        spreads.append(torch.cat(views).std(dim=0).mean().item())
    assert spreads[0] > 0
    assert spreads[1:] == pytest.approx([spreads[0]] * 2, rel=0.1)


@pytest.mark.parametrize("prompted", [False, True])
def test_a_model_can_be_handed_to_another_process(tmp_path, prompted, fast):
    model = _prompted(tmp_path) if prompted else build_encoder(save_tiny_model(tmp_path), "cls", device="cpu")
    model = without_dropout(model).double()
    fast(model, "read token")
    handed = pickle.loads(pickle.dumps(model))
    assert handed[0].model.encoder.layer[-1].forward.args[0] is handed[0].model.encoder.layer[-1]
    texts = sentences(6)
    found, gradients = view_and_gradients(handed, texts)
    expected, expected_gradients = view_and_gradients(model, texts)
    assert torch.equal(found, expected)
    reached = {name: gradient for name, gradient in gradients.items() if gradient is not None}
    assert all(torch.equal(gradient, expected_gradients[name]) for name, gradient in reached.items())
