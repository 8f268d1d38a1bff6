"""ConPVP against loops over single sentences."""

from __future__ import annotations

import math

import pytest
import torch

from denoised import denoised
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.templates import check_template, read_prompts
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.conpvp import NEGATIVE, POSITIVE, ConPVP, ConPVPLoss, anchor_template, prepare
from smoothcse.objectives.conpvp import draw_templates
from smoothcse.training import make_config
from smoothcse.training.plan import plan_run
from tiny import save_tiny_model, sentences

SETTINGS = ConPVP(prompt_tokens=2)
STEP, SEED = 7, 3


def loop_loss(z, p, n, temperature=0.05):
    """Return the loss as the equation has it, pair by pair."""
    total = 0.0
    for i, anchor in enumerate(z):
        scores = [torch.cosine_similarity(anchor, key, dim=0) / temperature for key in [*p, *n]]
        total = total - torch.log(torch.exp(scores[i]) / sum(torch.exp(score) for score in scores))
    return total / len(z)


def loop_view(encoder, texts, templates):
    rows = []
    for text, template in zip(texts, templates, strict=True):
        [prompt] = read_prompts(encoder.tokenizer, [template])
        rows.append(denoised(encoder, prompt, text))
    return torch.stack(rows)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "modernbert"])
def test_the_loss_is_the_equation_and_its_gradient(architecture, tmp_path):
    path = save_tiny_model(tmp_path, architecture, max_position_embeddings=128)
    encoder = prepare(build_encoder(path, dropout=0.1, device="cpu", max_length=None), SETTINGS).eval().double()
    encoder.max_seq_length = 120  # the tiny tokenizer spells the templates out
    texts = sentences(5)
    loss = ConPVPLoss(encoder, settings=SETTINGS, seed=SEED)
    column = encoder.preprocess(texts)
    value = loss.loss_at(STEP, [column])

    counts = (len(POSITIVE), len(NEGATIVE))
    drawn = draw_templates(column["input_ids"], column["attention_mask"], counts, seed=SEED, step=STEP)
    anchor, _ = anchor_template(SETTINGS)
    expected = loop_loss(
        loop_view(encoder, texts, [anchor] * 5),
        loop_view(encoder, texts, [POSITIVE[number] for number in drawn[0]]),
        loop_view(encoder, texts, [NEGATIVE[number] for number in drawn[1]]),
    )
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)

    weights = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    found, wanted = (torch.autograd.grad(term, weights, allow_unused=True) for term in (value, expected))
    largest = max(gradient.abs().max() for gradient in wanted if gradient is not None)
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        assert one is None or (one - other).abs().max() < 1e-10 * largest
    table = next(i for i, p in enumerate(weights) if p is encoder[0].model.get_input_embeddings().weight)
    assert (found[table][-2:].abs().sum(dim=1) > 0).all()  # the learned tokens learn


def test_templates_are_as_many_as_the_papers_and_all_different():
    assert (len(POSITIVE), len(NEGATIVE)) == (9, 8)
    assert len({check_template(template) for template in (*POSITIVE, *NEGATIVE)}) == 17


def test_each_template_has_its_chance_at_each_step_whatever_the_batch():
    ids = torch.arange(200).unsqueeze(1) + 5
    mask = torch.ones_like(ids)
    counts = torch.zeros(9), torch.zeros(8)
    for step in range(40):
        for count, drawn in zip(counts, draw_templates(ids, mask, (9, 8), seed=1, step=step), strict=True):
            count += torch.bincount(drawn, minlength=len(count))
    for count in counts:
        share = 1 / len(count)
        assert (count / 8000 - share).abs().max() < 5 * math.sqrt(share * (1 - share) / 8000)

    whole = draw_templates(ids, mask, (9, 8), seed=1, step=4)
    some = draw_templates(ids[50:60], mask[50:60], (9, 8), seed=1, step=4)
    assert all(torch.equal(one[50:60], other) for one, other in zip(whole, some, strict=True))
    later = draw_templates(ids, mask, (9, 8), seed=1, step=5)
    assert not torch.equal(whole[0], later[0])
    assert abs(torch.corrcoef(torch.stack([whole[0], whole[1]]).double())[0, 1]) < 0.3


def test_frozen_embeddings_are_refused():
    """They would leave the prompt at its random start."""
    with pytest.raises(SmoothCSEError, match="learns the embeddings of new tokens, which train_layers freezes"):
        plan_run(make_config({"method": "conpvp", "train_layers": 1}))
