"""Options of the objective in the losses: caching, both directions, gradients of keys, and the judge of negatives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from interrupted import train_interrupted
from smoothcse.encoders.build import build_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.planned_runs import PlannedRun
from smoothcse.experiments.run_records import record_of
from smoothcse.methods import ContrastiveLoss, base, with_gradient_caching
from smoothcse.methods.state import FrozenEncoder
from smoothcse.objectives import Keys, LossForm, dense_contrast
from smoothcse.objectives.rows import unit_rows
from smoothcse.report.facts import card
from smoothcse.report.read import read_run
from smoothcse.runs.folder import RunFolder
from smoothcse.training import make_config, train
from tiny import sentences

FORMS = [
    LossForm(ratio=1.5, hinge=0.3, key_gradient="positives"),
    LossForm(margin=0.1, key_gradient="none"),
    LossForm(decoupled=True, adaptive_temperature=0.5, false_negative_threshold=0.5),
    LossForm(positive_prior=0.01),
]


def rows(count, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64, requires_grad=True)


def views(count=6):
    return rows(count, 5, 0), rows(count, 5, 1)


def loss_of(form, **options):
    return ContrastiveLoss(nn.Identity(), form=form, temperature=0.3, **options)


def gradients(loss, z):
    return torch.autograd.grad(loss.compute_loss_from_embeddings(list(z)), z)


@pytest.fixture(scope="module")
def encoder(tiny_bert):
    """Without dropout, whose masks depend on the pieces."""
    return build_encoder(tiny_bert, device="cpu").eval().double()


def step(loss, features):
    loss.model.zero_grad()
    loss.step = 3
    value = loss([dict(column) for column in features])
    value.backward()
    return value.detach(), {name: p.grad.clone() for name, p in loss.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: "+".join(form.changes()))
@pytest.mark.parametrize("columns", [1, 2])
def test_gradient_caching_and_the_streamed_form_change_no_option(form, columns, encoder, monkeypatch):
    features = [encoder.preprocess([*sentences(7, seed=column), "the cat sat"]) for column in range(columns)]
    if form.false_negative_threshold is not None:  # one that masks some of the negatives, not all
        vectors = unit_rows(FrozenEncoder(encoder)(dict(features[0])))
        form = replace(form, false_negative_threshold=float((vectors @ vectors.T).median()))
    options = {"form": form, "symmetric": columns == 2, "temperature": 0.1}
    plain = step(ContrastiveLoss(encoder, **options), features)
    monkeypatch.setattr(base, "DENSE_LOGITS", 0)
    cached = step(with_gradient_caching(ContrastiveLoss)(encoder, mini_batch_tokens=30, **options), features)
    torch.testing.assert_close(plain[0], cached[0], rtol=1e-7, atol=1e-10)
    largest = max(gradient.abs().max() for gradient in plain[1].values())
    assert largest > 0
    for name, gradient in plain[1].items():
        assert (cached[1][name] - gradient).abs().max() < 1e-6 * largest, name


def test_a_symmetric_ratio_equals_the_published_formula_in_loops():
    """Li, Zhang and Nie: W_j (s_j - r s_own) over the anchors within the margin, negatives detached."""
    z1 = rows(6, 5, 0)
    z2 = (z1 + 0.7 * rows(6, 5, 1)).detach().requires_grad_()
    tau, ratio, hinge = 0.3, 1.5, 0.3
    expected = torch.zeros((), dtype=torch.float64)
    active = 0
    for ours, theirs in ((unit_rows(z1), unit_rows(z2)), (unit_rows(z2), unit_rows(z1))):
        for i in range(6):
            own = ours[i] @ theirs[i]
            others = [ours[i] @ theirs[j].detach() for j in range(6) if j != i]
            if float((own - max(others)).detach()) >= hinge:
                continue
            active += 1
            total = sum(float((other / tau).exp().detach()) for other in others)
            for other in others:
                weight = float((other / tau).exp().detach()) / total
                expected = expected + weight * (other - ratio * own) / tau / 6 / 2
    assert 0 < active < 12
    form = LossForm(ratio=ratio, hinge=hinge, key_gradient="positives")
    found = gradients(loss_of(form, symmetric=True), (z1, z2))
    for ours, theirs in zip(found, torch.autograd.grad(expected, (z1, z2)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_without_gradients_of_negative_keys_the_symmetric_form_pulls_twice_and_pushes_once():
    """So the published r acts as 2 r acts where keys have no gradient at all."""
    z = views()
    once = gradients(loss_of(LossForm(ratio=1.5, hinge=2.0, key_gradient="positives"), symmetric=True), z)
    twice = gradients(loss_of(LossForm(ratio=3.0, hinge=2.0, key_gradient="none"), symmetric=True), z)
    for first, second in zip(once, twice, strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("key_gradient", ["all", "positives", "none"])
def test_keys_have_the_gradient_that_they_are_given(key_gradient):
    z1, z2 = views()
    loss = loss_of(LossForm(key_gradient=key_gradient)).compute_loss_from_embeddings([z1, z2])
    plain = dense_contrast(z1, Keys(z2), temperature=0.3).loss
    torch.testing.assert_close(loss, plain)
    ours, theirs = (torch.autograd.grad(each, (z1, z2), allow_unused=True) for each in (loss, plain))
    torch.testing.assert_close(ours[0], theirs[0])
    if key_gradient == "none":
        assert ours[1] is None
    elif key_gradient == "all":
        torch.testing.assert_close(ours[1], theirs[1])
    else:
        own = torch.nn.functional.cosine_similarity(z1, z2) / 0.3
        probability = torch.softmax(unit_rows(z1) @ unit_rows(z2).T / 0.3, dim=1).diagonal().detach()
        [pull] = torch.autograd.grad(((probability - 1) * own).mean(), z2)
        torch.testing.assert_close(ours[1], pull)


def test_the_adaptive_temperature_is_that_of_the_batch():
    z1, z2 = views()
    loss = loss_of(LossForm(adaptive_temperature=0.5)).compute_loss_from_embeddings([z1, z2])
    mean = float(torch.nn.functional.cosine_similarity(z1, z2).mean().detach())
    torch.testing.assert_close(loss, dense_contrast(z1, Keys(z2), temperature=0.3 * (1 + 0.5 * mean)).loss)


def test_hard_negatives_are_not_debiased():
    z = rows(4, 5, 0), rows(4, 5, 1), rows(4, 5, 2)
    with pytest.raises(SmoothCSEError, match="positive_prior corrects negatives drawn at random, not the hard"):
        loss_of(LossForm(positive_prior=0.01)).compute_loss_from_embeddings(list(z))


def test_the_judge_masks_a_repeated_sentence_and_keeps_judging_as_at_the_start(encoder):
    """In both directions, and by the texts of each column, whatever the encoder has become since."""
    texts = [*sentences(5), sentences(5)[1]]
    loss = ContrastiveLoss(encoder, form=LossForm(false_negative_threshold=1 - 1e-9))
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[[1, 5], [5, 1]] = True
    before = {name: parameter.clone() for name, parameter in encoder.named_parameters()}
    try:
        for _ in range(2):
            loss([encoder.preprocess(texts)])
            for reverse in (False, True):
                found = loss.judge.false_negatives(reverse=reverse).among(0, 6)
                assert torch.equal(found.fill_diagonal_(False), expected)
            with torch.no_grad():
                for parameter in encoder.parameters():
                    parameter.add_(torch.randn_like(parameter))
        assert not any(parameter.requires_grad for parameter in loss.judge.parameters())
    finally:
        with torch.no_grad():
            for name, parameter in encoder.named_parameters():
                parameter.copy_(before[name])


def test_the_judge_compares_anchors_with_the_texts_of_the_positives(encoder):
    first, second = sentences(4), sentences(4, seed=1)
    second[2] = first[0]
    loss = ContrastiveLoss(encoder, form=LossForm(false_negative_threshold=1 - 1e-9))
    loss([encoder.preprocess(first), encoder.preprocess(second)])
    assert loss.judge.false_negatives().among(0, 4).nonzero().tolist() == [[0, 2]]
    assert loss.judge.false_negatives(reverse=True).among(0, 4).nonzero().tolist() == [[2, 0]]
    assert loss.batch_masked_share() == 1 / 12


def test_the_masked_share_leaves_out_each_anchors_own_text(encoder):
    texts = [*sentences(5), sentences(5)[1]]
    loss = ContrastiveLoss(encoder, form=LossForm(false_negative_threshold=1 - 1e-9))
    assert loss.batch_masked_share() is None  # before the first batch
    loss([encoder.preprocess(texts)])
    assert loss.batch_masked_share() == 2 / 30
    loss([encoder.preprocess(texts[:1])])
    assert loss.batch_masked_share() == 0  # no negatives
    assert loss_of(LossForm()).batch_masked_share() is None


def test_the_model_card_names_the_changes():
    assert loss_of(LossForm(ratio=1.5)).get_config_dict()["ratio"] == 1.5
    assert "ratio" not in loss_of(LossForm()).get_config_dict()


@pytest.mark.parametrize(
    "options",
    [
        {"ratio": 1.67, "hinge": 0.3, "key_gradient": "positives", "symmetric": True, "views": "crops"},
        {"decoupled": True, "adaptive_temperature": 0.5, "false_negative_threshold": 0.99},
    ],
    ids=["ratio", "masked"],
)
def test_a_run_resumes_and_names_its_options(options, tiny_bert, corpus_file, tmp_path, monkeypatch):
    fields = {"corpus": str(corpus_file), "model": tiny_bert, "output": str(tmp_path / "whole"), "precision": "fp32"}
    fields |= {"batch_size": 8, "noise_count": 0, "max_steps": 4, "eval_steps": 2, "log_steps": 1, "epochs": 2}
    config = make_config({**fields, "learning_rate": 1e-3, **options})
    whole = train(config, console=Console(quiet=True))
    resumed = train_interrupted(config.replace(output=str(tmp_path / "cut")), 3, monkeypatch)
    first, second = (load_file(run.folder / "last" / "model.safetensors") for run in (whole, resumed))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    logged, again = (
        [entry.get("masked_share") for entry in RunFolder(run.folder).metrics() if "loss" in entry]
        for run in (whole, resumed)
    )
    assert logged == again
    record = record_of(PlannedRun("whole", "", config), RunFolder(whole.folder))
    if config.false_negative_threshold is None:
        assert (logged, record.masked_share) == ([None] * 4, None)
    else:
        assert all(0 < share <= 1 for share in logged)
        assert record.masked_share == pytest.approx(sum(logged) / 4)
    words = dict(card(read_run(whole.folder)))["Method"]
    expected = ("ratio 1.67", "hinge 0.3", "both directions") if "ratio" in options else ("decoupled", "cosine 0.99")
    assert all(word in words for word in expected)
