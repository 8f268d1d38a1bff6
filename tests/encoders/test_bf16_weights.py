"""Inference in bf16: close to fp32, without casts between layers, and without changes to the original model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from smoothcse.encoders.bf16_weights import with_bf16_weights
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from tiny import ARCHITECTURES, save_tiny_model, sentences


class Casts(TorchDispatchMode):
    """Counts the casts to another floating-point type."""

    def __init__(self) -> None:
        super().__init__()
        self.to_bf16 = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        if operation is torch.ops.aten._to_copy.default and found.dtype == torch.bfloat16:
            self.to_bf16 += 1
        return found


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("pooling", ["cls", "mean", "avg_first_last"])
def test_embeddings_of_a_real_encoder_hardly_change(pooling, minilm):
    model, texts = load_encoder(minilm, pooling, device="cpu"), sentences(200)
    exact, rounded = (encode(model, texts, precision=precision) for precision in ("fp32", "bf16"))
    assert cosines(exact, rounded).min() > 0.9995
    assert (exact != rounded).any()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(architecture, tmp_path):
    model, texts = load_encoder(save_tiny_model(tmp_path, architecture), device="cpu"), sentences(40)
    exact, rounded = (encode(model, texts, precision=precision) for precision in ("fp32", "bf16"))
    assert cosines(exact, rounded).min() > 0.999


def test_no_layer_casts_its_input(minilm):
    model = load_encoder(minilm, device="cpu")
    features = model.preprocess(["a sentence", "and another one"])
    half = with_bf16_weights(model)
    with Casts() as ours, torch.no_grad():
        half(dict(features))
    with Casts() as autocast, torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        model(dict(features))
    assert ours.to_bf16 <= 1  # of the attention mask
    assert autocast.to_bf16 > 30


def test_pooling_and_later_modules_are_in_fp32(minilm):
    pooled = encode(load_encoder(minilm, "mean", device="cpu"), sentences(20), precision="bf16")
    assert pooled.dtype == np.float32
    assert (torch.from_numpy(pooled).bfloat16().float().numpy() != pooled).mean() > 0.9


def test_the_original_model_is_not_changed(tiny_bert, fast):
    model, texts = build_encoder(tiny_bert, device="cpu"), sentences(20)
    fast(model)
    before = encode(model, texts)
    modes = [module.training for module in model.modules()]
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    half = with_bf16_weights(model)
    assert half.tokenizer is model.tokenizer
    assert half[1] is model[1]
    assert {weight.dtype for weight in half[0].parameters()} == {torch.bfloat16}
    half.encode(texts)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())
    np.testing.assert_array_equal(encode(model, texts), before)


def test_both_precisions_can_be_used_together(tiny_bert):
    model, texts = load_encoder(tiny_bert, device="cpu"), sentences(50)
    alone = {precision: encode(model, texts, precision=precision) for precision in ("fp32", "bf16")}
    with ThreadPoolExecutor(4) as pool:
        wanted = ["fp32", "bf16"] * 8
        for precision, found in zip(
            wanted, pool.map(lambda precision: encode(model, texts, precision=precision), wanted), strict=True
        ):
            np.testing.assert_array_equal(found, alone[precision])


def test_a_model_that_is_not_in_fp32_is_returned_unchanged(tiny_bert):
    model = load_encoder(tiny_bert, device="cpu").bfloat16()
    assert with_bf16_weights(model) is model
