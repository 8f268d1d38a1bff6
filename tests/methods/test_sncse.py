"""SNCSE against loops."""

from __future__ import annotations

import pytest
import torch

from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.templates import read_prompts
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.sncse import SNCSE, SNCSELoss, prepare
from smoothcse.objectives.sncse import bidirectional_margin
from tiny import sentences

SETTINGS = SNCSE(anchor='the old "{sentence}" ran {mask}', positive="{sentence} by {mask} sea", weight=0.5)


def loop_margin(z1, z2, z3, nearest, farthest):
    total = 0.0
    for a, p, n in zip(z1, z2, z3, strict=True):
        difference = torch.cosine_similarity(a, n, dim=0) - torch.cosine_similarity(a, p, dim=0)
        if difference > -nearest:
            total = total + difference + nearest
        elif difference < -farthest:
            total = total - difference - farthest
    return total / len(z1)


def loop_loss(z1, z2, z3, settings, temperature=0.05):
    total = 0.0
    for i, anchor in enumerate(z1):
        scores = [torch.cosine_similarity(anchor, key, dim=0) / temperature for key in z2]
        total = total + torch.logsumexp(torch.stack(scores), dim=0) - scores[i]
    return total / len(z1) + settings.weight * loop_margin(z1, z2, z3, settings.nearest, settings.farthest)


def test_the_margin_is_the_equation_and_its_gradient():
    generator = torch.Generator().manual_seed(1)
    z1, z2 = torch.randn(2, 40, 6, dtype=torch.float64, generator=generator).unbind()
    z3 = z2 + 0.7 * torch.randn(40, 6, dtype=torch.float64, generator=generator)
    cosines = torch.cosine_similarity(z1, z3) - torch.cosine_similarity(z1, z2)
    assert ((cosines > -0.1).any(), (cosines < -0.3).any(), ((cosines > -0.3) & (cosines < -0.1)).any()) == (1, 1, 1)
    views = [view.requires_grad_() for view in (z1, z2, z3)]
    value = bidirectional_margin(*views, nearest=0.1, farthest=0.3)
    expected = loop_margin(*views, 0.1, 0.3)
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)
    for one, other in zip(torch.autograd.grad(value, views), torch.autograd.grad(expected, views), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_margin_is_zero_between_its_bounds():
    z1 = torch.tensor([[1.0, 0.0]])
    at = {cosine: torch.tensor([[cosine, (1 - cosine**2) ** 0.5]]) for cosine in (0.9, 0.95, 0.7, 0.2)}
    assert bidirectional_margin(z1, at[0.9], at[0.7]).item() == 0
    assert bidirectional_margin(z1, at[0.9], at[0.95]).item() == pytest.approx(0.15, abs=1e-6)
    assert bidirectional_margin(z1, at[0.9], at[0.2]).item() == pytest.approx(0.4, abs=1e-6)


def test_the_loss_is_the_equation_and_its_gradient(tiny_bert):
    encoder = prepare(build_encoder(tiny_bert, device="cpu"), SETTINGS).eval().double()
    texts, negations = sentences(5), sentences(5, seed=1)
    loss = SNCSELoss(encoder, settings=SETTINGS)
    value = loss([encoder.preprocess(texts), encoder.preprocess(negations)])

    views = []
    prompts = read_prompts(encoder.tokenizer, [SETTINGS.anchor, SETTINGS.positive])
    for column, prompt in ((texts, prompts[0]), (texts, prompts[1]), (negations, prompts[1])):
        rows = []
        for text in column:
            words = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
            ids = torch.tensor([[*prompt.before, *words, *prompt.after]])
            place = int((ids[0] == encoder.tokenizer.mask_token_id).nonzero())
            state = encoder[0].model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0, place]
            rows.append(torch.tanh(encoder[3].linear(state)))
        views.append(torch.stack(rows))
    expected = loop_loss(*views, SETTINGS)
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)

    weights = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    found, wanted = (torch.autograd.grad(term, weights, allow_unused=True) for term in (value, expected))
    largest = max(gradient.abs().max() for gradient in wanted if gradient is not None)
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        assert one is None or (one - other).abs().max() < 1e-10 * largest


def test_soft_negatives_stand_in_no_denominator(tiny_bert):
    encoder = prepare(build_encoder(tiny_bert, device="cpu"), SETTINGS)
    z1, z2, z3 = torch.randn(3, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    z3.requires_grad_()
    settings = SNCSE(anchor=SETTINGS.anchor, weight=0)
    loss = SNCSELoss(encoder, settings=settings).compute_loss_from_embeddings([z1, z2, z3])
    assert not torch.autograd.grad(loss, z3)[0].any()


def test_sentences_without_negations_are_told(tiny_bert):
    encoder = prepare(build_encoder(tiny_bert, device="cpu"), SETTINGS)
    with pytest.raises(SmoothCSEError, match="two columns, sentences and their negations, not 1"):
        SNCSELoss(encoder, settings=SETTINGS)([encoder.preprocess(sentences(4))])
