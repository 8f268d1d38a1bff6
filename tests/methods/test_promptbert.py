"""PromptBERT against loops over single sentences."""

from __future__ import annotations

import pytest
import torch

from denoised import denoised
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.templates import read_prompts
from smoothcse.errors import SmoothCSEError
from smoothcse.methods.promptbert import PromptBERT, PromptBERTLoss, prepare
from smoothcse.objectives.promptbert import one_of_each
from smoothcse.views.embed import embed_views
from tiny import save_tiny_model, sentences

SETTINGS = PromptBERT(anchor='the old "{sentence}" ran {mask} and', positive="{mask} : {sentence} by the sea")


def loop_info_nce(z1, z2, temperature=0.05):
    total = 0.0
    for i, anchor in enumerate(z1):
        scores = [torch.cosine_similarity(anchor, key, dim=0) / temperature for key in z2]
        total = total + torch.logsumexp(torch.stack(scores), dim=0) - scores[i]
    return total / len(z1)


def loop_views(encoder, texts, templates):
    """Embed each sentence by itself: the state of the mask, less that of the template with the sentence masked out."""
    return [
        torch.stack([denoised(encoder, prompt, text) for text in texts])
        for prompt in read_prompts(encoder.tokenizer, templates)
    ]


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "distilbert"])
def test_the_loss_is_the_equation_and_its_gradient(architecture, tmp_path):
    path = save_tiny_model(tmp_path, architecture)
    encoder = prepare(build_encoder(path, device="cpu"), SETTINGS).eval().double()
    texts = [*sentences(6), "cat"]
    loss = PromptBERTLoss(encoder, settings=SETTINGS)
    value = loss([encoder.preprocess(texts)])
    expected = loop_info_nce(*loop_views(encoder, texts, [SETTINGS.anchor, SETTINGS.positive]))
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)

    weights = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    found, wanted = (torch.autograd.grad(term, weights, allow_unused=True) for term in (value, expected))
    largest = max(gradient.abs().max() for gradient in wanted if gradient is not None)
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        assert one is None or (one - other).abs().max() < 1e-10 * largest


def test_rows_of_one_length_share_what_the_template_says(tiny_bert):
    """Its dropout is the only one that two rows could share, so that without any other they are equal."""
    encoder = prepare(build_encoder(tiny_bert, device="cpu"), SETTINGS)
    loss = PromptBERTLoss(encoder, settings=SETTINGS)
    column = encoder.preprocess(["the cat sat", "dogs ran past", "books about quiet stars", "winter light in"])
    [view, _] = loss.views([column])
    firsts, kinds = one_of_each(view["of_template"])
    lengths = view["attention_mask"].sum(dim=1)
    assert len(firsts) == len(set(lengths.tolist()))
    assert torch.equal(lengths[firsts][kinds], lengths)


def test_an_encoder_without_the_template_is_told(tiny_bert):
    with pytest.raises(SmoothCSEError, match=r"does not use the template 'This sentence of"):
        PromptBERTLoss(build_encoder(tiny_bert, device="cpu"))


def test_pairs_and_triplets_are_read_in_the_second_template(tiny_bert):
    encoder = prepare(build_encoder(tiny_bert, device="cpu"), SETTINGS).eval()
    loss = PromptBERTLoss(encoder, settings=SETTINGS)
    columns = [encoder.preprocess(sentences(4, seed=seed)) for seed in range(3)]
    views = loss.views(columns)
    assert [view["input_ids"].shape[0] for view in views] == [4, 4, 4]
    alone = loss.views([columns[1]])[1]
    torch.testing.assert_close(embed_views(encoder, views)[1], embed_views(encoder, [alone, alone])[0])
