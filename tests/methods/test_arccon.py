"""ArcCon against loops."""

from __future__ import annotations

import math

import pytest
import torch

from smoothcse.encoders.build import build_encoder
from smoothcse.methods import GSInfoNCELoss, base
from smoothcse.methods.arccon import ArcCon, ArcConLoss
from smoothcse.objectives import Noise
from smoothcse.objectives.arccon import angular_margin_logits


def views(number=2, count=5, width=4):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(number, count, width, dtype=torch.float64, generator=generator)
    return [(3 * view).requires_grad_() for view in rows]


def loop(z1, z2, margin, temperature):
    total = 0.0
    for i in range(len(z1)):
        cosines = [(z1[i] @ z2[j]) / (z1[i].norm() * z2[j].norm()) for j in range(len(z2))]
        own = torch.exp(torch.cos(torch.arccos(cosines[i]) + math.radians(margin)) / temperature)
        others = sum(torch.exp(cosine / temperature) for j, cosine in enumerate(cosines) if j != i)
        total = total - torch.log(own / (own + others))
    return total / len(z1)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("margin", [0.0, 10.0, 40.0])
def test_the_loss_is_the_equation_and_its_gradient(margin, streamed, tiny_bert, monkeypatch):
    monkeypatch.setattr(base, "DENSE_LOGITS", 0 if streamed else 10**9)
    encoder = build_encoder(tiny_bert, device="cpu")
    loss = ArcConLoss(encoder, settings=ArcCon(margin=margin), temperature=0.2)
    inputs = views()
    value, expected = loss.compute_loss_from_embeddings(inputs), loop(*inputs, margin, 0.2)
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)
    gradients, wanted = (torch.autograd.grad(scalar, inputs) for scalar in (value, expected))
    assert max(gradient.abs().max() for gradient in wanted) > 1e-4
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-10)


def test_without_a_margin_it_is_infonce_and_with_one_it_asks_for_more(tiny_bert):
    encoder, inputs = build_encoder(tiny_bert, device="cpu"), views(3)
    noise = Noise(8)
    plain = GSInfoNCELoss(encoder, noise_count=8).compute_loss_from_embeddings(inputs)
    none, some = (
        ArcConLoss(encoder, settings=ArcCon(margin=margin), noise=noise).compute_loss_from_embeddings(inputs)
        for margin in (0.0, 10.0)
    )
    torch.testing.assert_close(none, plain)
    assert some > none


def test_without_settings_the_margin_is_the_published_one(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    loss = ArcConLoss(encoder)
    assert loss.model is encoder
    assert loss.settings == ArcCon(margin=10.0)


def test_equal_views_have_a_gradient():
    anchors = torch.randn(4, 6, requires_grad=True)
    angular_margin_logits(anchors, anchors.detach().clone()).sum().backward()
    assert anchors.grad is not None
    assert anchors.grad.isfinite().all()
