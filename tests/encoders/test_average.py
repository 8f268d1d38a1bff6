"""Weight averaging with the start, against a loop over the elements."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse import SmoothCSEError
from smoothcse.encoders.average import average_with_start
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.load import load_encoder
from tiny import save_tiny_model, sentences


@pytest.fixture(scope="module")
def start(tiny_bert):
    return build_encoder(tiny_bert, projection=False, device="cpu")


@pytest.fixture(scope="module")
def trained(tiny_bert):
    model = build_encoder(tiny_bert, device="cpu")  # with a head
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    return model


@settings(max_examples=10, deadline=None)
@given(share=st.floats(0, 1))
def test_the_average_is_that_of_a_loop(share, trained, start):
    found, before = average_with_start(trained, start, share).state_dict(), start.state_dict()
    assert found.keys() == before.keys()
    for name in ("0.model.embeddings.LayerNorm.weight", "0.model.encoder.layer.1.attention.self.query.bias"):
        expected = [
            share * float(a) + (1 - share) * float(b)
            for a, b in zip(trained.state_dict()[name], before[name], strict=True)
        ]
        assert found[name].tolist() == pytest.approx(expected, abs=1e-6)


def test_the_ends_are_exact_and_the_arguments_stay_unchanged(trained, start, tmp_path):
    kept = copy.deepcopy(trained.state_dict())
    texts = sentences(4)
    for share, model in ((0.0, start), (1.0, trained)):
        averaged = average_with_start(trained, start, share)
        assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in averaged.state_dict().items())
        assert (averaged.encode(texts) == model.encode(texts)).all()
    half = average_with_start(trained, start)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in trained.state_dict().items())
    half.save_pretrained(str(tmp_path / "half"))
    assert (load_encoder(tmp_path / "half", device="cpu").encode(texts) == half.encode(texts)).all()


def test_models_that_do_not_fit_are_refused(trained, start, tmp_path):
    wider = build_encoder(save_tiny_model(tmp_path / "wide", intermediate_size=128), device="cpu")
    deeper = build_encoder(save_tiny_model(tmp_path / "deep", num_hidden_layers=3), device="cpu")
    for other, place in ((wider, r"layer\.0\.intermediate"), (deeper, r"layer\.2\.")):
        with pytest.raises(SmoothCSEError, match=rf"cannot be averaged: their weights differ at .*{place}"):
            average_with_start(trained, other)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(SmoothCSEError, match="must be between 0 and 1"):
            average_with_start(trained, start, share)


def test_a_weight_with_several_names_is_averaged_once(tiny_bert):
    """As T5 ties the table of its encoder to a shared one."""
    start, trained = (build_encoder(tiny_bert, projection=False, device="cpu") for _ in range(2))
    for model in (start, trained):
        model.tied = model[0].model.embeddings.word_embeddings
    with torch.no_grad():
        for weight in trained.parameters():
            weight.add_(1.0)
    averaged = average_with_start(trained, start, 0.5)
    for before, after in zip(start.parameters(), averaged.parameters(), strict=True):
        torch.testing.assert_close(after, before + 0.5)
