"""IS-CSE against loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from smoothcse.encoders.build import build_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.methods import ranks
from smoothcse.methods.is_cse import ISCSE, ISCSELoss
from smoothcse.objectives import info_nce
from smoothcse.objectives.is_cse import smoothed_positives, smoothing_weight
from smoothcse.training import make_config
from smoothcse.training.plan import plan_run
from tiny import sentences

SETTINGS = ISCSE(buffer_size=12, neighbours=3, weight=0.3, weight_at_start=0.3)


def loop_smoothed(positives, memory, neighbours, temperature):
    """Return z* as the equation has it, row by row, with the neighbours found by a full sort."""
    found = []
    for row in positives:
        unit = row / row.norm()
        ranked = sorted(range(len(memory)), key=lambda k: -float((unit @ memory[k]).detach()))
        group = [unit] + [memory[k] for k in ranked[1 : neighbours + 1]]
        weights = [torch.exp(unit @ member / temperature) for member in group]
        found.append(sum(w * member for w, member in zip(weights, group, strict=True)) / sum(weights))
    return torch.stack(found)


def loop_info_nce(z1, keys, temperature=0.05):
    total = 0.0
    for i, anchor in enumerate(z1):
        scores = [torch.cosine_similarity(anchor, key, dim=0) / temperature for key in keys]
        total = total + torch.logsumexp(torch.stack(scores), dim=0) - scores[i]
    return total / len(z1)


def unit_rows(count, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, width, dtype=torch.float64, generator=generator), dim=1)


def test_smoothed_positives_are_the_equation_and_their_gradient():
    positives = 2.0 * unit_rows(4, 6, 1)
    memory = torch.cat([unit_rows(9, 6, 2), functional.normalize(positives, dim=1)])
    target = unit_rows(4, 6, 3)
    results = []
    for function in (
        lambda z: smoothed_positives(z, memory, neighbours=5),
        lambda z: loop_smoothed(z, memory, 5, 2.0),
    ):
        z = positives.clone().requires_grad_()
        value = function(z)
        [gradient] = torch.autograd.grad((value * target).sum(), z)
        results.append((value.detach(), gradient))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-10, atol=1e-12)


def test_the_loss_is_the_sum_of_both_once_the_buffer_is_full(tiny_bert):
    loss = ISCSELoss(build_encoder(tiny_bert, device="cpu"), settings=SETTINGS)
    loss.state.double()
    z1, z2 = unit_rows(5, 32, 4).requires_grad_(), unit_rows(5, 32, 5).requires_grad_()
    assert loss.compute_loss_from_embeddings([z1, z2]).item() == pytest.approx(info_nce(z1, z2).item(), rel=1e-12)

    before = unit_rows(20, 32, 6)
    loss.state.push(before)
    memory = torch.cat([before[-7:], z2.detach()])
    expected = loop_info_nce(z1, z2) + 0.3 * loop_info_nce(z1, loop_smoothed(z2, memory, 3, 2.0))
    value = loss.compute_loss_from_embeddings([z1, z2])
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)
    for found, wanted in zip(
        torch.autograd.grad(value, (z1, z2)), torch.autograd.grad(expected, (z1, z2)), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


def test_the_smoothed_loss_sets_in_with_the_step_that_fills_the_buffer(tiny_bert):
    """With the step's own positives the buffer is full; a hard negative is none of the smoothed loss's business."""
    settings = ISCSE(buffer_size=12, neighbours=3, weight=0.3, weight_at_start=0.3, group_temperature=0.5)
    loss = ISCSELoss(build_encoder(tiny_bert, device="cpu"), settings=settings, temperature=0.2)
    loss.state.double()
    z1, z2, z3 = (unit_rows(5, 32, seed) for seed in (4, 5, 7))
    before = unit_rows(7, 32, 6)
    loss.state.push(before[:6])
    plain = info_nce(z1, z2, hard_negatives=z3, temperature=0.2)
    torch.testing.assert_close(loss.compute_loss_from_embeddings([z1, z2, z3]), plain)
    loss.state.push(before[6:])
    smoothed = loop_smoothed(z2, torch.cat([before, z2]), 3, 0.5)
    expected = plain + 0.3 * loop_info_nce(z1, smoothed, 0.2)
    torch.testing.assert_close(loss.compute_loss_from_embeddings([z1, z2, z3]), expected)


def test_a_rank_smooths_its_positives_over_those_of_all(tiny_bert, monkeypatch):
    """This one is the second of two; the positives and the smoothed positives of the first are the same rows here."""
    loss = ISCSELoss(build_encoder(tiny_bert, device="cpu"), settings=SETTINGS)
    loss.state.double()
    z1, z2, others, before = (unit_rows(count, 32, seed) for count, seed in ((5, 4), (5, 5), (5, 7), (2, 6)))
    loss.state.push(before)
    monkeypatch.setattr(ranks.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(ranks.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(ranks.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(ranks, "all_gather", lambda rows: torch.cat([others, rows]))
    monkeypatch.setattr(ranks, "all_gather_with_grad", lambda rows: torch.cat([others, rows]))
    smoothed = smoothed_positives(z2, torch.cat([before, others, z2]), neighbours=3)
    expected = info_nce(z1, torch.cat([others, z2]), first_positive=5)
    expected = expected + 0.3 * info_nce(z1, torch.cat([others, smoothed]), first_positive=5)
    torch.testing.assert_close(loss.compute_loss_from_embeddings([z1, z2]), expected)


def test_nothing_is_remembered_without_a_step(tiny_bert):
    loss = ISCSELoss(build_encoder(tiny_bert, device="cpu"), settings=SETTINGS)
    loss.remember([])
    loss.compute_loss_from_embeddings([unit_rows(3, 32, 1), unit_rows(3, 32, 2)])
    loss.remember([])
    loss.remember([])
    assert len(loss.state) == 3


def test_the_buffer_takes_each_steps_positives_once(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu").train()
    loss = ISCSELoss(encoder, settings=SETTINGS)
    features = encoder.preprocess(sentences(5))
    for _ in range(2):
        loss([dict(features)])
        loss.loss_at(0, [dict(features)])  # a look is not a step
    assert len(loss.state) == 10


def test_the_weight_climbs_over_the_first_half():
    assert [smoothing_weight(t, 0.1, 0.1) for t in (0.0, 0.4, 1.0)] == [0.1] * 3
    assert smoothing_weight(0.0, 0.005, 0.05) == pytest.approx(0.005)
    assert smoothing_weight(0.25, 0.005, 0.05) == pytest.approx(0.05 - 0.045 * math.cos(math.pi / 4))
    assert smoothing_weight(0.5, 0.005, 0.05) == smoothing_weight(0.9, 0.005, 0.05) == pytest.approx(0.05)


@pytest.mark.parametrize("option", [{"key_gradient": "none"}, {"adaptive_temperature": 1.0}])
def test_options_that_its_second_loss_would_ignore_are_refused(option):
    with pytest.raises(SmoothCSEError, match=f"{next(iter(option))} does not reach"):
        plan_run(make_config({"method": "is-cse", **option}))
