"""Length-sorted groups change how a batch is computed, not what."""

from __future__ import annotations

import pytest
import torch

from smoothcse.encoders.build import build_encoder
from smoothcse.methods import GSInfoNCELoss
from smoothcse.views import embed as views
from smoothcse.views.embed import embed, embed_views, repeat_rows
from tiny import ARCHITECTURES, save_tiny_model, sentences


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tokens", [1, 60, 1600])
def test_groups_equal_the_whole_batch(architecture, tokens, tmp_path, monkeypatch, fast):
    # float64, as equal views (there is no dropout in eval mode) make the gradient a small difference of large terms
    encoder = build_encoder(save_tiny_model(tmp_path, architecture), dropout=0.1, device="cpu").eval().double()
    features = encoder.preprocess(sentences(11))
    results = []
    monkeypatch.setattr(views, "_CPU_TOKENS", tokens)
    fast(encoder, "length groups", "words")
    for embed_batch in (in_one_forward, embed_views):
        encoder.zero_grad()
        loss = GSInfoNCELoss(encoder, noise_count=8)
        loss.step = 0
        z1, z2 = embed_batch(encoder, [dict(features)])
        value = loss.compute_loss_from_embeddings([z1, z2])
        value.backward()
        gradients = {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
        results.append((z1.detach(), z2.detach(), value.detach(), gradients))
    (z1, z2, value, gradients), (g1, g2, grouped, grouped_gradients) = results
    for whole, parts in ((z1, g1), (z2, g2), (value, grouped)):
        torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-9)
    largest = max(gradient.abs().max() for gradient in gradients.values())
    assert largest > 0
    for name, gradient in gradients.items():
        assert (grouped_gradients[name] - gradient).abs().max() < 1e-6 * largest


def in_one_forward(encoder, columns):
    return embed(encoder, repeat_rows(columns[0])).chunk(2)


def test_an_encoder_padded_on_the_left_keeps_its_positions(tiny_bert, monkeypatch, fast):
    monkeypatch.setattr(views, "_CPU_TOKENS", 40)
    encoder = build_encoder(tiny_bert, device="cpu").eval()
    fast(encoder, "length groups", "words")
    encoder.tokenizer.padding_side = "left"
    features = encoder.preprocess(sentences(6))
    assert not features["attention_mask"][:, 0].all()
    for view, expected in zip(
        embed_views(encoder, [dict(features)]), in_one_forward(encoder, [dict(features)]), strict=True
    ):
        torch.testing.assert_close(view, expected)


def test_groups_hold_rows_of_similar_length_and_no_needless_padding(tiny_bert, monkeypatch, fast):
    monkeypatch.setattr(views, "_CPU_TOKENS_OF_A_PASS", 8)
    encoder = build_encoder(tiny_bert, device="cpu").train()
    fast(encoder)
    widths = []
    encoder[0].register_forward_hook(lambda module, inputs, output: widths.append(output["attention_mask"]))
    embed_views(encoder, [encoder.preprocess(["cat", "the cat sat on a mat while", "dogs", "the cat sat on a mat"])])
    assert [mask.shape[0] for mask in widths] == [4, 4]
    assert widths[0].shape[1] < widths[1].shape[1]
    assert all(mask.any(dim=0).all() for mask in widths)
