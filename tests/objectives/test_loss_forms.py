"""The formulas of the family equal plain loops, in both engines, and relate to each other as documented."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse.errors import SmoothCSEError
from smoothcse.objectives import (
    NO_NOISE,
    FalseNegatives,
    FixedNoise,
    HardNegatives,
    Keys,
    LogSumExps,
    LossForm,
    Noise,
    dense_contrast,
    false_negatives,
    info_nce,
    similarity_logits,
    streamed_contrast,
    streamed_log_sum_exps,
)
from smoothcse.objectives.loss_form import contrast_of
from smoothcse.objectives.macl import adaptive_temperature
from smoothcse.objectives.rows import unit_rows
from smoothcse.objectives.streamed import streamed_hardest

ENGINES = pytest.mark.parametrize("engine", [dense_contrast, streamed_contrast])
FORMS = {
    "margin": LossForm(margin=0.1),
    "decoupled": LossForm(decoupled=True),
    "ratio": LossForm(ratio=1.75),
    "ratio below 1": LossForm(ratio=0.5, margin=0.2),
    "hinge": LossForm(ratio=1.5, hinge=0.3),
    "decoupled ratio": LossForm(ratio=1.5, decoupled=True),
    "debiased": LossForm(positive_prior=0.02),
    "debiased to the bound": LossForm(positive_prior=0.5),
    "debiased with margin": LossForm(positive_prior=0.02, margin=0.1),
}


def rows(count, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64, requires_grad=True)


def s(a, b, tau):
    return a @ b / (a.norm() * b.norm() * tau)


def negatives_of(i, z1, keys, tau):
    """Return the logits of the negatives of anchor ``i``, in-batch ones first, and how many those are."""
    own, judged = keys.first_positive + i, keys.false_negatives
    kept = [
        j
        for j in range(len(keys.positives))
        if j != own and not (judged and float(judged.anchors[i] @ judged.positives[j]) > judged.threshold)
    ]
    logits = [s(z1[i], keys.positives[j], tau) for j in kept]
    if keys.hard_negatives is not None:
        hard = keys.hard_negatives
        logits += [s(z1[i], z, tau) + (hard.log_weight if j == own else 0) for j, z in enumerate(hard.vectors)]
    if keys.further_negatives is not None:
        logits += [s(z1[i], z, tau) for z in keys.further_negatives]
    return logits, len(kept)


def loop_loss(z1, keys, form, tau, noise=(), weight=1.0):
    """The formulas, one scalar at a time; of a ratio, the value of the loss and the gradient of the definition."""
    total = 0.0 * z1.sum()
    for i in range(len(z1)):
        own = s(z1[i], keys.positives[keys.first_positive + i], tau)
        logits, in_batch = negatives_of(i, z1, keys, tau)
        N = sum((logit.exp() for logit in logits), torch.zeros((), dtype=torch.float64))
        if form.positive_prior is not None:
            t, n = form.positive_prior, len(logits)
            estimate, bound = (N - t * n * own.exp()) / (1 - t), n * math.exp(-1 / tau)
            N = estimate if float(estimate) > bound else torch.tensor(bound, dtype=torch.float64)
        C = weight * sum((s(z1[i], g, tau).exp() for g in noise), torch.zeros((), dtype=torch.float64))
        if float((N + C).detach()) == 0:
            continue
        P = own.exp() * math.exp(-form.margin / tau)
        loss = torch.log((N + C) / P) if form.decoupled else torch.log(1 + (N + C) / P)
        if form.ratio is not None:
            assert not len(noise)
            if form.hinge is not None:
                GD = float(tau * (own - max(logits[:in_batch])) < form.hinge) if in_batch else 0.0
            else:
                GD = 1.0 if form.decoupled else float(N / (P + N))
            push = sum(float(logit.exp() / N) * logit for logit in logits)
            gradient = GD * (push - form.ratio * own)
            loss = loss.detach() + gradient - gradient.detach()
        total = total + loss
    return total / len(z1)


def assert_equal_with_gradients(found, expected, inputs):
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, allow_unused=True),
        torch.autograd.grad(expected, inputs, allow_unused=True),
        strict=True,
    ):
        zero = torch.zeros((), dtype=torch.float64)
        torch.testing.assert_close(
            *torch.broadcast_tensors(zero if ours is None else ours, zero if theirs is None else theirs),
            rtol=1e-7,
            atol=1e-9,
        )


@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=6, deadline=None)
@given(
    n=st.integers(2, 5),
    others=st.integers(0, 3),
    d=st.integers(2, 5),
    m=st.integers(0, 4),
    hard=st.booleans(),
    further=st.integers(0, 3),
    masked=st.booleans(),
    tau=st.sampled_from([0.1, 0.5]),
    seed=st.integers(0, 999),
)
def test_both_engines_equal_plain_loops(name, n, others, d, m, hard, further, masked, tau, seed):
    form = FORMS[name]
    z1, z2, z3, z4 = (
        rows(n, d, seed),
        rows(n + others, d, seed + 1),
        rows(n + others, d, seed + 2),
        rows(further, d, 9),
    )
    judged = None
    if masked and form.positive_prior is None:
        judged = FalseNegatives(*(unit_rows(rows(count, 3, seed + 3).detach()) for count in (n, n + others)), 0.4)
    prior = form.positive_prior is not None  # corrects negatives drawn at random only
    keys = Keys(
        z2,
        HardNegatives(z3, 0.7) if hard and not prior else None,
        z4 if further else None,
        first_positive=others,
        false_negatives=judged,
    )
    g = rows(m if form.ratio is None else 0, d, seed + 4).detach()
    noise = Noise(len(g), weight=2.0, source=FixedNoise(g))
    inputs = [z1, z2, z3, z4]
    expected = loop_loss(z1, keys, form, tau, g, 2.0)
    assert_equal_with_gradients(dense_contrast(z1, keys, noise, form, temperature=tau).loss, expected, inputs)
    assert_equal_with_gradients(
        streamed_contrast(z1, keys, noise, form, temperature=tau).loss, loop_loss(z1, keys, form, tau, g, 2.0), inputs
    )


@pytest.mark.parametrize("elements", [1, 7, 1000])
def test_the_blocks_of_the_streamed_form_change_nothing(elements):
    z1, z2 = rows(5, 4, 0), rows(8, 4, 1)
    judged = FalseNegatives(*(unit_rows(rows(count, 3, count).detach()) for count in (5, 8)), 0.3)
    keys, form = Keys(z2, first_positive=2, false_negatives=judged), LossForm(ratio=1.5, hinge=0.4)
    terms = streamed_log_sum_exps(z1, keys, temperature=0.3, block_elements=elements)
    hardest = streamed_hardest(z1, keys, temperature=0.3, block_elements=elements)
    found = contrast_of(terms._replace(hardest=hardest), keys, NO_NOISE, form, temperature=0.3).loss
    assert_equal_with_gradients(found, dense_contrast(z1, keys, NO_NOISE, form, temperature=0.3).loss, [z1, z2])


def anchor_gradients(form, noise=NO_NOISE, tau=0.3, seed=0):
    """Return the gradient of each anchor from its own loss; keys have none."""
    z1, z2 = rows(6, 5, seed), rows(6, 5, seed + 1).detach()
    return torch.autograd.grad(dense_contrast(z1, Keys(z2), noise, form, temperature=tau).loss, z1)[0]


def test_a_held_share_is_a_ratio_of_the_same_direction_and_with_its_margin_the_same_gradient():
    """C = s/(1-s) N gives N/(P + rN) (W - r h+) with r = 1/(1-s); a margin of τ log r raises GD to rN/(P + rN)."""
    share, tau = 0.4, 0.3
    ratio = 1 / (1 - share)
    held = anchor_gradients(LossForm(), Noise(7, share=share, mode="expected"), tau)
    alone = anchor_gradients(LossForm(ratio=ratio), tau=tau)
    cosines = torch.nn.functional.cosine_similarity(held, alone)
    torch.testing.assert_close(cosines, torch.ones_like(cosines))
    assert not torch.allclose(held, alone)  # the dissipation differs
    torch.testing.assert_close(anchor_gradients(LossForm(ratio=ratio, margin=tau * math.log(ratio))), ratio * held)


def test_a_share_whose_weight_has_a_gradient_is_a_margin_and_no_ratio():
    share, tau = 0.4, 0.3
    z1, z2 = rows(6, 5, 0), rows(6, 5, 1)
    terms = streamed_log_sum_exps(z1, Keys(z2), temperature=tau)
    attached = LogSumExps(terms.own, terms.negatives, terms.negatives + math.log(share / (1 - share))).loss()
    form = LossForm(margin=-tau * math.log(1 - share))
    assert_equal_with_gradients(dense_contrast(z1, Keys(z2), NO_NOISE, form, temperature=tau).loss, attached, [z1, z2])
    plain, margin = anchor_gradients(LossForm()), anchor_gradients(form)
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(plain, margin), torch.ones(6).double())


def test_constant_noise_is_a_ratio_that_differs_by_anchor():
    tau, noise = 0.3, Noise(7, mode="expected")
    z1, z2 = rows(6, 5, 0), rows(6, 5, 1).detach()
    terms = dense_terms(z1, z2, noise, tau)
    ratios = (1 + (terms.noise - terms.negatives).exp()).detach()
    [expected] = torch.autograd.grad((terms.negatives - ratios * terms.own).sum(), z1)
    cosines = torch.nn.functional.cosine_similarity(anchor_gradients(LossForm(), noise), expected)
    torch.testing.assert_close(cosines, torch.ones_like(cosines))
    assert ratios.max() > 1.5 * ratios.min()


def dense_terms(z1, z2, noise, tau):
    from smoothcse.objectives.contrastive import dense_log_sum_exps

    return dense_log_sum_exps(similarity_logits(z1, Keys(z2), noise, temperature=tau), Keys(z2), noise)


def test_the_decoupled_loss_is_the_limit_of_large_margins():
    torch.testing.assert_close(
        anchor_gradients(LossForm(margin=10.0)), anchor_gradients(LossForm(decoupled=True)), rtol=1e-8, atol=1e-10
    )
    plain, decoupled = (anchor_gradients(form) for form in (LossForm(), LossForm(decoupled=True)))
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(plain, decoupled), torch.ones(6).double())


def test_a_ratio_of_one_is_info_nce_to_its_gradient():
    z1, z2 = rows(6, 5, 0), rows(6, 5, 1)
    for engine in (dense_contrast, streamed_contrast):
        found = engine(z1, Keys(z2), NO_NOISE, LossForm(ratio=1.0), temperature=0.3).loss
        assert_equal_with_gradients(found, info_nce(z1, z2, temperature=0.3), [z1, z2])


def test_debiasing_keeps_the_direction_above_its_bound_and_drops_the_push_at_it():
    plain, above = anchor_gradients(LossForm()), anchor_gradients(LossForm(positive_prior=0.001))
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(plain, above), torch.ones(6).double())
    z1 = rows(6, 5, 0)
    z2 = z1.detach() + 0.2 * rows(6, 5, 1).detach()
    at = dense_contrast(z1, Keys(z2), NO_NOISE, LossForm(positive_prior=0.9), temperature=0.3).loss
    pulls = torch.autograd.grad(at, z1)[0]
    own = torch.nn.functional.cosine_similarity(z1, z2)
    cosines = torch.nn.functional.cosine_similarity(pulls, torch.autograd.grad(-own.sum(), z1)[0])
    torch.testing.assert_close(cosines, torch.ones_like(cosines))


def test_the_gradient_of_macl_is_that_of_the_decoupled_loss_at_its_temperature():
    """The released loss: -log of the positive's probability over one minus that probability, detached."""
    z1, z2 = rows(6, 5, 0), rows(6, 5, 1)
    cosines = unit_rows(z1) @ unit_rows(z2).T
    tau = 0.1 * (1 + 0.5 * float(cosines.diagonal().mean()))
    assert adaptive_temperature(cosines.diagonal(), 0.1, 0.5) == pytest.approx(tau)
    probability = torch.softmax(cosines / tau, dim=1).diagonal()
    released = (-probability.log() / (1 - probability).detach()).mean()
    ours = dense_contrast(z1, Keys(z2), NO_NOISE, LossForm(decoupled=True), temperature=tau).loss
    for found, expected in zip(*(torch.autograd.grad(loss, [z1, z2]) for loss in (ours, released)), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_adaptive_temperature_stays_positive_and_has_no_gradient():
    cosines = torch.tensor([-1.0, -0.8], requires_grad=True)
    assert adaptive_temperature(cosines, 0.05, 2.0) == pytest.approx(0.005)
    assert isinstance(adaptive_temperature(cosines, 0.05, 2.0), float)


@ENGINES
@pytest.mark.parametrize("noise", [NO_NOISE, Noise(8, share=0.4)], ids=["no noise", "held share"])
@pytest.mark.parametrize("form", [LossForm(), *FORMS.values()], ids=["infonce", *FORMS])
def test_an_anchor_without_negatives_has_no_loss_and_no_gradient(form, noise, engine):
    """All others are false negatives of the first anchor; and a batch of one sentence."""
    judged = FalseNegatives(torch.eye(3).double(), torch.tensor([[1.0, 0, 0]] * 3).double(), 0.5)
    for z1, z2, judgement in ((rows(3, 4, 0), rows(3, 4, 1), judged), (rows(1, 4, 0), rows(1, 4, 1), None)):
        if judgement is not None and form.positive_prior is not None:
            continue
        loss = engine(z1, Keys(z2, false_negatives=judgement), noise, form, temperature=0.3).loss
        gradient = torch.autograd.grad(loss, z1)[0]
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
        assert torch.equal(gradient[0], torch.zeros(4).double())
        if len(z1) == 1:
            assert loss.item() == 0.0


@ENGINES
def test_an_own_positive_is_never_a_false_negative(engine):
    z1, z2 = rows(4, 3, 0), rows(4, 3, 1)
    same = torch.eye(4).double()
    found = engine(z1, Keys(z2, false_negatives=FalseNegatives(same, same, 0.9)), temperature=0.3).loss
    torch.testing.assert_close(found, info_nce(z1, z2, temperature=0.3))


@pytest.mark.parametrize("block", [1, 10, 2**24])
@pytest.mark.parametrize("first", [0, 2, 4])
def test_false_negatives_are_counted_without_own_positives(first, block, monkeypatch):
    monkeypatch.setattr(false_negatives, "_BLOCK_ELEMENTS", block)
    anchors, positives = unit_rows(rows(3, 4, 0).detach()), unit_rows(rows(7, 4, 1).detach())
    found = FalseNegatives(anchors, positives, 0.2).count(first)
    expected = [
        (i, j) for i in range(3) for j in range(7) if j != first + i and float(anchors[i] @ positives[j]) > 0.2
    ]
    assert int(found) == len(expected) > 3


@ENGINES
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_parts_of_the_batch_average_to_the_whole(form, engine):
    """As ranks do, each with its anchors and all keys."""
    z1, z2 = rows(6, 5, 0), rows(6, 5, 1)
    judge = unit_rows(rows(6, 3, 2).detach())
    judged = [None] * 2
    if form.positive_prior is None:
        judged = [FalseNegatives(judge[part], judge, 0.3) for part in (slice(0, 3), slice(3, 6))]
    parts = [
        engine(z1[k : k + 3], Keys(z2, first_positive=k, false_negatives=part), NO_NOISE, form, temperature=0.3).loss
        for k, part in zip((0, 3), judged, strict=True)
    ]
    whole_judged = None if form.positive_prior is not None else FalseNegatives(judge, judge, 0.3)
    whole = engine(z1, Keys(z2, false_negatives=whole_judged), NO_NOISE, form, temperature=0.3).loss
    assert_equal_with_gradients(sum(parts) / 2, whole, [z1, z2])


@ENGINES
def test_the_share_of_the_noise_is_held_of_the_corrected_negatives(engine):
    z1, z2 = rows(6, 5, 0), rows(6, 5, 1)
    form = LossForm(positive_prior=0.01, margin=0.1)
    found = engine(z1, Keys(z2), Noise(9, share=0.3), form, temperature=0.3)
    assert float(found.noise_share) == pytest.approx(0.3)


@ENGINES
def test_autocast_does_not_reach_a_form(engine):
    z1, z2 = rows(8, 16, 0).float(), rows(8, 16, 1).float()
    form = LossForm(ratio=1.5, hinge=0.3)
    wanted = engine(z1, Keys(z2), NO_NOISE, form).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = engine(z1, Keys(z2), NO_NOISE, form).loss
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ratio": 0.0}, "ratio must be greater than 0, not 0.0"),
        ({"ratio": 1.0, "hinge": -0.1}, "hinge must be greater than 0"),
        ({"adaptive_temperature": 0.0}, "adaptive_temperature must be greater than 0"),
        ({"positive_prior": 1.0}, "positive_prior must lie between 0 and 1, not 1.0"),
        ({"false_negative_threshold": 0.0}, "false_negative_threshold must lie between 0 and 1"),
        ({"hinge": 0.3}, "hinge belongs to ratio"),
        ({"key_gradient": "some"}, "key_gradient 'some' is unknown; choose 'all', 'positives' or 'none'"),
    ],
)
def test_a_form_out_of_range_is_refused(values, message):
    with pytest.raises(SmoothCSEError, match=message):
        LossForm(**values)


def test_a_form_names_its_changes():
    assert LossForm().changes() == {}
    assert LossForm(ratio=1.5, decoupled=True).changes() == {"ratio": 1.5, "decoupled": True}
