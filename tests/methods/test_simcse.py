"""What SimCSE's script offers beside the contrast: pairs, the symmetric form, masked language modelling, poolings."""

from __future__ import annotations

import csv
import json
from typing import get_args

import pytest
import torch
import transformers
from rich.console import Console
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from torch.nn import functional

from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.load import load_encoder
from smoothcse.encoders.pooling import PoolingName
from smoothcse.errors import SmoothCSEError
from smoothcse.methods import base, with_gradient_caching
from smoothcse.methods.masked_lm import TARGETS, MaskedLMHead
from smoothcse.methods.simcse import SimCSE, SimCSELoss
from smoothcse.methods.table import METHODS, find_method
from smoothcse.objectives.masked_lm import IGNORE_INDEX, mask_tokens
from smoothcse.runs.folder import RunFolder
from smoothcse.training import make_config, train
from smoothcse.views.embed import READ
from tiny import ARCHITECTURES, save_tiny_model, sentences

WITH_MLM = SimCSE(mlm_weight=0.5, mlm_probability=0.4)


def rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 6, dtype=torch.float64, generator=generator).requires_grad_()


# ---- the symmetric form ---------------------------------------------------------------------------------


def loop_one_direction(queries, keys, hard, weight, temperature):
    total = 0.0
    for i, query in enumerate(queries):
        scores = [torch.cosine_similarity(query, key, dim=0) / temperature for key in keys]
        for j, key in enumerate(hard):
            scores.append(torch.cosine_similarity(query, key, dim=0) / temperature + (weight if i == j else 0.0))
        total = total + torch.logsumexp(torch.stack(scores), dim=0) - scores[i]
    return total / len(queries)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("triplets", [False, True])
def test_the_symmetric_form_is_the_mean_of_both_directions(streamed, triplets, tiny_bert, monkeypatch):
    monkeypatch.setattr(base, "DENSE_LOGITS", 0 if streamed else 10**9)
    encoder = build_encoder(tiny_bert, device="cpu")
    settings = SimCSE(symmetric=True)
    loss = SimCSELoss(encoder, settings=settings, hard_negative_log_weight=0.7, temperature=0.1)
    embeddings = [rows(5, seed) for seed in range(2 + triplets)]
    anchors, positives, *hard = embeddings
    expected = loop_one_direction(anchors, positives, hard[0] if hard else [], 0.7, 0.1)
    expected = (expected + loop_one_direction(positives, anchors, [], 0.0, 0.1)) / 2
    value = loss.compute_loss_from_embeddings(embeddings)
    assert value.item() == pytest.approx(expected.item(), rel=1e-10)
    found, wanted = (torch.autograd.grad(scalar, embeddings) for scalar in (value, expected))
    for gradient, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-9, atol=1e-11)


# ---- masked language modelling --------------------------------------------------------------------------


def masked_copy(ids, mask, step=3, probability=0.3):
    words = mask.bool() & (ids > 4)
    vocabulary = torch.arange(5, 105)
    return mask_tokens(ids, mask, words, probability=probability, mask_id=4, vocabulary=vocabulary, seed=1, step=step)


def test_tokens_are_masked_as_in_bert():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 105, (400, 50), generator=generator)
    ids[:, 0] = 2
    mask = torch.ones_like(ids)
    before = ids.clone()
    found, targets = masked_copy(ids, mask)
    assert torch.equal(ids, before)
    chosen = targets != IGNORE_INDEX
    assert torch.equal(targets[chosen], ids[chosen])
    assert torch.equal(found[~chosen], ids[~chosen])
    assert not chosen[:, 0].any()
    assert chosen[:, 1:].float().mean().item() == pytest.approx(0.3, abs=0.01)
    masked, kept = found[chosen] == 4, found[chosen] == ids[chosen]
    assert masked.float().mean().item() == pytest.approx(0.8, abs=0.02)
    assert kept.float().mean().item() == pytest.approx(0.1 + 0.1 / 100, abs=0.015)
    assert found[chosen][~masked].min() >= 5


def test_the_draw_depends_on_the_row_and_the_step_alone():
    ids = torch.tensor([[2, 10, 11, 12, 13, 3], [2, 20, 21, 22, 23, 3]])
    whole = masked_copy(ids, torch.ones_like(ids), probability=0.5)
    padded = functional.pad(ids[1:], (0, 4))
    alone = masked_copy(padded, (padded > 0).long(), probability=0.5)
    for first, second in zip(whole, alone, strict=True):
        assert torch.equal(first[1], second[0, :6])
    steps = {tuple(masked_copy(ids, torch.ones_like(ids), step, 0.5)[0].flatten().tolist()) for step in range(8)}
    assert len(steps) > 4


def test_the_views_that_are_contrasted_are_never_masked(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    loss = SimCSELoss(encoder, settings=WITH_MLM)
    column = encoder.preprocess(sentences(6))
    ids = column["input_ids"].clone()
    copy, first, second = loss.views([column])
    assert torch.equal(first["input_ids"], ids)
    assert torch.equal(second["input_ids"], ids)
    assert (copy["input_ids"] == encoder.tokenizer.mask_token_id).any()
    assert READ not in first
    assert len(loss.views([column] * 3)) == 6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("pooling", ["cls", "avg_first_last"])
def test_the_loss_is_that_of_the_familys_own_masked_model(architecture, pooling, tmp_path, fast):
    """From a checkpoint with a head: its loss over the masked tokens, and its gradients, are ours."""
    folder = save_tiny_model(tmp_path, architecture)
    torch.manual_seed(1)
    config = transformers.AutoConfig.from_pretrained(folder)
    theirs = transformers.AutoModelForMaskedLM.from_config(config)
    for parameter in theirs.parameters():  # a fresh bias is zero, and would hide one that is not copied
        torch.nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(folder)
    theirs.double()
    encoder = build_encoder(folder, pooling, device="cpu", dropout=1e-12).double().train()  # as good as none
    fast(encoder, "read token")  # which must not cut the last layer short here
    theirs.eval()
    loss = SimCSELoss(encoder, settings=WITH_MLM)
    copy = loss.views([encoder.preprocess(sentences(5))])[0]
    read = loss.state.read(encoder, {key: value for key, value in copy.items() if key != READ})
    value = read[:, 0].sum() / read[:, 1].sum()
    assert torch.equal(read[:, 1], (copy[TARGETS] != IGNORE_INDEX).sum(dim=1).double())
    expected = theirs(input_ids=copy["input_ids"], attention_mask=copy["attention_mask"], labels=copy[TARGETS]).loss
    torch.testing.assert_close(value.float(), expected.float(), rtol=1e-5, atol=1e-6)  # some compute it so
    [ours] = torch.autograd.grad(value, encoder[0].model.get_input_embeddings().weight)
    [wanted] = torch.autograd.grad(expected, theirs.get_input_embeddings().weight)
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-6)


def test_a_new_head_is_the_same_each_time_and_leaves_the_random_state(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    torch.manual_seed(5)
    first = MaskedLMHead(encoder)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert drawn == torch.rand(1)
    second = MaskedLMHead(encoder)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_caching_gives_the_head_its_gradient(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu").eval().double()
    column, found = encoder.preprocess(sentences(9)), []
    for kind, options in ((SimCSELoss, {}), (with_gradient_caching(SimCSELoss), {"mini_batch_tokens": 20})):
        loss = kind(encoder, settings=WITH_MLM, **options)
        loss([dict(column)]).backward()
        found.append([parameter.grad for parameter in loss.state.parameters()])
        loss.zero_grad()
    assert max(gradient.abs().max() for gradient in found[0]) > 1e-4
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-7, atol=1e-9)


def test_a_family_without_a_masked_model_is_told(tmp_path):
    folder = save_tiny_model(tmp_path)
    encoder = build_encoder(folder, device="cpu")
    encoder.tokenizer.mask_token = None
    with pytest.raises(SmoothCSEError, match="whose tokenizer has a mask token"):
        SimCSELoss(encoder, settings=WITH_MLM)
    config = transformers.T5Config(
        vocab_size=151, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    transformers.T5EncoderModel(config).save_pretrained(folder)
    encoder = build_encoder(folder, "mean", device="cpu")
    with pytest.raises(SmoothCSEError, match=r"masked-language head, which .* \(a t5 model\) cannot be given"):
        SimCSELoss(encoder, settings=WITH_MLM)


# ---- runs -----------------------------------------------------------------------------------------------


@pytest.fixture
def config(tiny_bert, tmp_path):
    with (tmp_path / "nli.csv").open("w", newline="") as file:
        table = [sentences(40, seed) for seed in range(3)]
        csv.writer(file).writerows([("sent0", "sent1", "hard_neg"), *zip(*table, strict=True), ("", "a", "b")])
    fields = {"corpus": str(tmp_path / "nli.csv"), "model": tiny_bert, "output": str(tmp_path / "run")}
    fields |= {"columns": ["sent0", "sent1", "hard_neg"], "batch_size": 8, "noise_count": 0, "precision": "fp32"}
    return make_config({**fields, "max_steps": 4, "eval_steps": 2, "log_steps": 1, "learning_rate": 1e-3})


def losses(folder):
    return [entry["loss"] for entry in RunFolder(folder).metrics() if "loss" in entry]


def test_a_run_on_triplets_says_what_it_learns_from(config, tmp_path, capsys):
    result = train(config, console=Console(width=200))
    printed = capsys.readouterr().out
    for words in (
        "triplets  ",
        "40 from",
        "7 in the batch + 8 hard + no noise",
        "Supervised SimCSE",
        "dropped: empty",
    ):
        assert words in printed
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["data"]["columns"] == manifest["config"]["columns"] == config.columns
    assert (manifest["data"]["kept"], manifest["data"]["dropped"]["empty"]) == (40, 1)
    card = (result.last / "README.md").read_text()
    assert "It was trained on labelled pairs by supervised SimCSE" in card
    assert "40 triplets kept of 41" in card
    assert "- supervised\n" in card
    assert result.criterion == "triplets trained on: -(alignment + uniformity)"


def test_each_column_and_its_weight_reach_the_loss(config, tmp_path):
    quiet = Console(quiet=True)
    config = config.replace(max_steps=1, eval_steps=1)
    first = losses(train(config, console=quiet).folder)
    changes = (
        {"columns": ["sent0", "sent1"]},
        {"columns": ["sent0", "hard_neg"]},
        {"hard_negative_log_weight": 2.0},
        {"settings": {"symmetric": True}},
        {"settings": {"mlm_weight": 0.1}},
    )
    for number, change in enumerate(changes):
        changed = config.replace(output=str(tmp_path / f"other-{number}"), **change)
        assert losses(train(changed, console=quiet).folder)[0] != first[0]


def test_methods_that_make_their_own_positives_refuse_pairs(config):
    with pytest.raises(SmoothCSEError, match=r"simcse\+\+ makes its own positives"):
        train(config.replace(method="simcse++"), console=Console(quiet=True))


@pytest.mark.parametrize("method", [name for name in METHODS if find_method(name).pairs and name != "simcse"])
def test_other_methods_learn_from_the_positives_given(method, config, tmp_path):
    """The same sentences beside other positives are another loss."""
    fields = {"method": method, "max_steps": 1, "eval_steps": 1, "max_length": 60}
    found = set()
    for positive in ("sent1", "hard_neg"):
        changed = config.replace(**fields, columns=["sent0", positive], output=str(tmp_path / positive))
        found.add(losses(train(changed, console=Console(quiet=True)).folder)[0])
    assert len(found) == 2


@pytest.mark.parametrize("pooling", get_args(PoolingName))
def test_each_pooling_trains_and_reloads(pooling, config):
    config = config.replace(pooling=pooling, columns=None, column="sent0", settings={"mlm_weight": 0.1})
    result = train(config, console=Console(quiet=True))
    plain = SentenceTransformer(str(result.last), device="cpu", trust_remote_code=False)
    start = load_encoder(config.model, pooling, device="cpu")
    texts = sentences(4, seed=9)
    assert plain.encode(texts) == pytest.approx(load_encoder(result.last, device="cpu").encode(texts), abs=1e-6)
    assert abs(plain.encode(texts) - start.encode(texts)).max() > 1e-4
    assert not any("lm" in name or "predictions" in name for name in load_file(result.last / "model.safetensors"))
