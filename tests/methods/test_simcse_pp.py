"""SimCSE++ against loops."""

from __future__ import annotations

import math

import pytest
import torch

from smoothcse.encoders.build import build_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.methods import base
from smoothcse.methods.simcse_pp import SimCSEPP, SimCSEPPLoss
from smoothcse.objectives.simcse_pp import dimension_wise_contrast, dropout_pair_logits
from smoothcse.views.embed import embed, embed_views
from tiny import sentences

SETTINGS = SimCSEPP(positive_weight=0.8, dimension_weight=0.3, dimension_temperature=2.0)


def views(count, width, number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(number, count, width, dtype=torch.float64, generator=generator)
    return [(3 * view).requires_grad_() for view in rows]


def loop_off_dropout(z1, z2, z0, weight, temperature):
    total = 0.0
    for i in range(len(z1)):
        own = weight * torch.cosine_similarity(z1[i], z2[i], dim=0) / temperature
        others = [torch.cosine_similarity(z0[i], z0[j], dim=0) / temperature for j in range(len(z0)) if j != i]
        total = total - own + torch.log(own.exp() + sum(other.exp() for other in others))
    return total / len(z1)


def loop_dimensions(z1, z2, temperature, epsilon=1e-5):
    count, width = z1.shape

    def normal(view, c):
        mean = sum(view[n, c] for n in range(count)) / count
        variance = sum((view[n, c] - mean) ** 2 for n in range(count)) / count
        return [(view[n, c] - mean) / (variance + epsilon) ** 0.5 for n in range(count)]

    first, second = ([normal(view, c) for c in range(width)] for view in (z1, z2))
    total = 0.0
    for c in range(width):
        row = [
            sum(a * b for a, b in zip(first[c], second[r], strict=True)) / count / temperature for r in range(width)
        ]
        total = total - row[c] + torch.log(sum(entry.exp() for entry in row))
    return total / width


def assert_same(value, expected, inputs):
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)
    gradients, wanted = (torch.autograd.grad(scalar, inputs) for scalar in (value, expected))
    assert max(gradient.abs().max() for gradient in wanted) > 1e-4
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-10)


def test_the_contrast_of_dimensions_is_the_equation_and_its_gradient():
    z1, z2 = views(6, 5, 2)
    value = dimension_wise_contrast(z1, z2, temperature=2.0)
    assert_same(value, loop_dimensions(z1, z2, 2.0), [z1, z2])


def test_it_is_small_where_each_dimension_agrees_with_itself_alone():
    same = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    crossed = same[:, [1, 0]]
    agree, differ = dimension_wise_contrast(same, same), dimension_wise_contrast(same, crossed)
    assert agree == pytest.approx(math.log(1 + math.exp(-1 / 5)), abs=1e-4)
    assert differ == pytest.approx(math.log(1 + math.exp(1 / 5)), abs=1e-4)


def test_lengths_do_not_matter_to_the_pairs():
    z1, z2 = views(4, 6, 2)
    torch.testing.assert_close(dropout_pair_logits(z1, z2), dropout_pair_logits(5 * z1, z2 / 7))


@pytest.mark.parametrize("streamed", [False, True])
def test_the_loss_is_the_sum_of_both(streamed, tiny_bert, monkeypatch):
    monkeypatch.setattr(base, "DENSE_LOGITS", 0 if streamed else 10**9)
    loss = SimCSEPPLoss(build_encoder(tiny_bert, device="cpu"), settings=SETTINGS, temperature=0.2)
    z1, z2, z0 = views(5, 4, 3)
    expected = loop_off_dropout(z1, z2, z0, 0.8, 0.2) + 0.3 * loop_dimensions(z1, z2, 2.0)
    assert_same(loss.compute_loss_from_embeddings([z1, z2, z0]), expected, [z1, z2, z0])


def test_the_third_view_has_no_dropout(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu", dropout=0.3).train()
    column = encoder.preprocess(sentences(5))
    first, second, calm = embed_views(encoder, SimCSEPPLoss(encoder).views([column]))
    assert encoder.training
    assert not torch.allclose(first, second)
    assert calm.requires_grad
    torch.testing.assert_close(calm, embed(encoder.eval(), column))


def test_pairs_are_refused(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    with pytest.raises(SmoothCSEError, match="takes one column of text"):
        SimCSEPPLoss(encoder)([encoder.preprocess(sentences(4))] * 2)
