"""Matryoshka training: the mean of the plain losses at each width, with what methods keep at the full width."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, MultipleNegativesRankingLoss

from smoothcse import SmoothCSEError, TrainConfig
from smoothcse.encoders.build import build_encoder
from smoothcse.methods import ContrastiveLoss, with_gradient_caching
from smoothcse.methods.esimcse import ESimCSE, ESimCSELoss
from smoothcse.methods.is_cse import ISCSE, ISCSELoss
from smoothcse.methods.matryoshka import with_matryoshka
from smoothcse.objectives import GaussianNoise, Noise, gs_info_nce, info_nce
from smoothcse.objectives.is_cse import smoothed_positives
from tiny import sentences

WIDTHS = [8, 16, 32]


@pytest.fixture
def encoder(tiny_bert):
    return build_encoder(tiny_bert, "mean", projection=False, device="cpu").eval().double()


@pytest.fixture
def columns(encoder):
    return [encoder.preprocess(sentences(9, seed)) for seed in range(2)]


def gradients(encoder, value):
    encoder.zero_grad()
    value.backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


def test_without_noise_it_is_a_third_of_the_hosts_sum_over_three_widths(encoder, columns):
    ours = with_matryoshka(ContrastiveLoss)(encoder, dimensions=[8, 16])
    host = MatryoshkaLoss(encoder, MultipleNegativesRankingLoss(encoder, scale=20.0), WIDTHS)
    value, expected = ours(columns), host([dict(column) for column in columns], None) / 3
    torch.testing.assert_close(value, expected)
    found, theirs = gradients(encoder, value), gradients(encoder, host([dict(column) for column in columns], None) / 3)
    assert found.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-9)


def test_the_noise_is_drawn_for_each_width_and_the_share_is_that_of_all_dimensions(encoder, columns):
    noise = Noise(count=5, source=GaussianNoise(seed=3))
    loss = with_matryoshka(ContrastiveLoss)(encoder, dimensions=[16, 8], noise=noise)
    plain = ContrastiveLoss(encoder, noise=noise)
    first, second = (torch.from_numpy(encoder.encode(sentences(9, seed))) for seed in range(2))
    expected = sum(gs_info_nce(first[:, :width], second[:, :width], noise=noise) for width in WIDTHS) / 3
    torch.testing.assert_close(loss.loss_at(0, columns), expected)
    plain.loss_at(0, columns)
    torch.testing.assert_close(loss.last_noise_share, plain.last_noise_share)


def test_gradient_caching_gives_the_same_value_and_gradients(encoder, columns):
    plain = with_matryoshka(ContrastiveLoss)
    value = plain(encoder, dimensions=[8])(columns)
    expected = gradients(encoder, value)
    cached = with_gradient_caching(plain)(encoder, dimensions=[8], mini_batch_tokens=20)([dict(c) for c in columns])
    torch.testing.assert_close(cached, value.detach())
    found = gradients(encoder, cached)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-8)


def test_a_queue_keeps_all_dimensions_and_is_truncated_with_the_views(encoder, columns):
    loss = with_matryoshka(ESimCSELoss)(encoder, dimensions=[8], settings=ESimCSE(queue_size=9)).train()
    encoder.eval()
    loss(columns)
    queue = loss.state.queue
    assert len(queue) == 9
    assert queue.newest.shape[1] == 32
    first, second = (torch.from_numpy(encoder.encode(sentences(9, seed))) for seed in range(2))
    expected = []
    for width in (8, 32):
        keys = torch.cat([second, queue.newest.double()])[:, :width]
        expected.append(info_nce(first[:, :width], keys))
    torch.testing.assert_close(loss.loss_at(1, columns), sum(expected) / 2)


def test_is_cse_smooths_at_each_width(encoder, columns):
    settings = ISCSE(buffer_size=9, neighbours=3, weight_at_start=0.1)
    loss = with_matryoshka(ISCSELoss)(encoder, dimensions=[8], settings=settings).train()
    encoder.eval()
    first, second = (torch.from_numpy(encoder.encode(sentences(9, seed))) for seed in range(2))
    expected = []
    for width in (8, 32):
        anchors, positives = first[:, :width], second[:, :width]
        unit = torch.nn.functional.normalize(positives)
        smoothed = smoothed_positives(positives, unit, neighbours=3)
        expected.append(info_nce(anchors, positives) + 0.1 * info_nce(anchors, smoothed))
    torch.testing.assert_close(loss(columns), sum(expected) / 2, rtol=1e-5, atol=1e-6)  # the buffer is in float32
    assert loss.state.newest.shape == (9, 32)
    assert torch.isfinite(loss(columns))


def test_widths_and_heads_that_do_not_fit_are_refused(encoder, tiny_bert):
    with pytest.raises(SmoothCSEError, match="matryoshka names 64 dimensions, but the embeddings have 32"):
        with_matryoshka(ContrastiveLoss)(encoder, dimensions=[64, 8])
    with pytest.raises(SmoothCSEError, match="without a head"):
        with_matryoshka(ContrastiveLoss)(build_encoder(tiny_bert, device="cpu"), dimensions=[8])
    with pytest.raises(SmoothCSEError, match="the projection head mixes them; set projection to false"):
        TrainConfig(matryoshka=[64])
    assert TrainConfig(matryoshka=[64], projection=False).matryoshka == [64]
