"""Gradient caching changes the memory of a step, not its result."""

from __future__ import annotations

import shutil

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from smoothcse.encoders.build import build_encoder
from smoothcse.errors import SmoothCSEError
from smoothcse.methods import CachedGSInfoNCELoss, GSInfoNCELoss, base
from smoothcse.methods import cached as cached_module
from smoothcse.methods.cached import _order_of_length, _sorted
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import read_manifest, write_manifest
from smoothcse.training import make_config, train
from smoothcse.training.mini_batch import largest_that_fits, mini_batch_tokens
from tiny import ARCHITECTURES, save_tiny_model, sentences


def step(loss, columns):
    """Return loss, noise share and gradients of one batch."""
    loss.model.zero_grad()
    loss.step = 3
    value = loss([dict(column) for column in columns])
    (2.0 * value).backward()  # as gradient accumulation and loss scaling do
    gradients = {name: p.grad.clone() for name, p in loss.model.named_parameters() if p.grad is not None}
    return value.detach(), loss.last_noise_share, gradients


def note_sizes(monkeypatch):
    """Return a list that fills with the rows and the padded width of each mini-batch that is encoded."""
    sizes, original = [], cached_module.embed

    def noted(model, piece):
        sizes.append(tuple(piece["input_ids"].shape))
        return original(model, piece)

    monkeypatch.setattr(cached_module, "embed", noted)
    return sizes


def assert_equal(first, second):
    torch.testing.assert_close(first[0], second[0], rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(first[1], second[1], rtol=1e-6, atol=1e-9)
    assert first[2].keys() == second[2].keys()
    largest = max(gradient.abs().max() for gradient in first[2].values())
    assert largest > 0
    for name, gradient in first[2].items():
        assert (second[2][name] - gradient).abs().max() < 1e-6 * largest


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("tokens", [1, 23, 10_000])
@pytest.mark.parametrize("streamed", [False, True])
def test_it_equals_the_plain_loss(columns, tokens, streamed, tiny_bert, monkeypatch):
    """No dropout, as its masks depend on the pieces; pieces of one row, uneven ones, and the whole batch."""
    encoder = build_encoder(tiny_bert, device="cpu").eval().double()
    features = [encoder.preprocess(sentences(11, seed=column)) for column in range(columns)]
    options = {"noise_count": 16, "hard_negative_log_weight": 0.5}
    plain = step(GSInfoNCELoss(encoder, **options), features)
    monkeypatch.setattr(base, "DENSE_LOGITS", 0 if streamed else 10**9)
    assert_equal(plain, step(CachedGSInfoNCELoss(encoder, mini_batch_tokens=tokens, **options), features))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_second_pass_has_the_dropout_of_the_first(architecture, tmp_path, fast):
    """The same pieces, encoded once with all activations kept, give the same gradients under the same dropout."""
    encoder = build_encoder(save_tiny_model(tmp_path, architecture), dropout=0.2, device="cpu").train().double()
    fast(encoder)
    features = encoder.preprocess(sentences(11))
    cached = CachedGSInfoNCELoss(encoder, mini_batch_tokens=40, noise_count=16)
    torch.manual_seed(1)
    found = step(cached, [features])

    encoder.zero_grad()
    torch.manual_seed(1)
    pieces = cached.embed_minibatch_iter(
        _sorted([dict(features)], _order_of_length([features]))[0], with_grad=True, copy_random_state=False
    )
    rows = torch.cat([piece for piece, _ in pieces])
    value = cached.compute_loss_from_embeddings([rows[0::2], rows[1::2]])
    (2.0 * value).backward()
    gradients = {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}
    assert_equal((value.detach(), cached.last_noise_share, gradients), found)


@pytest.mark.parametrize("inside", [False, True], ids=["backward after autocast", "backward under autocast"])
def test_under_autocast_of_the_caller_the_second_pass_has_the_precision_of_the_first(inside, tiny_bert):
    """The batch in one piece, so that value and gradients are those of the plain loss in bf16."""
    encoder = build_encoder(tiny_bert, device="cpu").eval()
    features = encoder.preprocess(sentences(6))
    seen, found = [], []
    encoder[0].auto_model.encoder.layer[0].intermediate.dense.register_forward_hook(
        lambda module, given, output: seen.append(output.dtype)
    )
    for loss, backward_inside in (
        (GSInfoNCELoss(encoder), False),
        (CachedGSInfoNCELoss(encoder, mini_batch_tokens=10_000), inside),
    ):
        encoder.zero_grad()
        loss.step = 0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss([dict(features)])
            if backward_inside:
                value.backward()
        if not backward_inside:
            value.backward()
        found.append({name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None})
    assert seen[-2:] == [torch.bfloat16] * 2  # of the two passes of the cached loss
    assert found[0].keys() == found[1].keys()
    largest = max(gradient.abs().max() for gradient in found[0].values())
    worst = max((found[1][name] - gradient).abs().max() for name, gradient in found[0].items())
    assert worst < 0.02 * largest


def test_views_are_neighbours_in_the_order_of_length(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    features = encoder.preprocess(sentences(9))
    views = _sorted([features], _order_of_length([features]))[0]
    lengths = views["attention_mask"].sum(dim=1)
    assert torch.equal(lengths, features["attention_mask"].sum(dim=1).sort().values.repeat_interleave(2))
    assert torch.equal(views["input_ids"][0::2], views["input_ids"][1::2])


def test_an_evaluation_has_no_second_pass(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu").eval()
    calls = []
    encoder.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        loss = CachedGSInfoNCELoss(encoder, mini_batch_tokens=10_000)([encoder.preprocess(sentences(4))])
    assert not loss.requires_grad
    assert len(calls) == 1


def test_mistakes(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    with pytest.raises(SmoothCSEError, match="mini_batch_tokens must be at least 1, not 0"):
        CachedGSInfoNCELoss(encoder, mini_batch_tokens=0)
    packed = {"input_ids": torch.ones(1, 9), "cu_seq_lens_q": torch.tensor([0, 3, 6, 9])}
    with pytest.raises(SmoothCSEError, match="needs padded batches"):
        CachedGSInfoNCELoss(encoder)([packed])


def test_the_largest_piece_that_fits_leaves_room_for_the_optimiser():
    tried = []

    def attempt(tokens):
        tried.append(tokens)
        if tokens > 10_000:
            raise torch.OutOfMemoryError

    assert largest_that_fits(attempt, 32) == 4096
    assert tried == [131072, 65536, 32768, 16384, 8192]
    with pytest.raises(SmoothCSEError, match="Not even 20000 tokens fit"):
        largest_that_fits(attempt, 20_000)


@pytest.mark.parametrize(
    ("wanted", "sentences_per_step", "precision", "tokens"),
    [
        (None, 64, "fp32", None),
        (None, 1024, "bf16", None),
        (None, 2048, "fp32", 1024),
        (None, 2048, "bf16", 4096),
        ("auto", 64, "fp32", 1024),
        (77, 4096, "bf16", 77),
    ],
)
def test_large_batches_are_encoded_in_mini_batches(wanted, sentences_per_step, precision, tokens, tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    options = {"sentences": sentences_per_step, "max_length": 32, "precision": precision}
    assert mini_batch_tokens(wanted, encoder, **options) == tokens


def test_a_cached_run_resumed_equals_an_uninterrupted_one(tiny_bert, corpus_file, tmp_path):
    config = make_config(
        {
            "corpus": str(corpus_file), "model": tiny_bert, "output": str(tmp_path / "whole"), "batch_size": 16,
            "mini_batch": 60, "max_steps": 6, "epochs": 3, "eval_steps": 2, "log_steps": 1, "precision": "fp32",
            "learning_rate": 1e-3,
        }
    )  # fmt: skip
    quiet = Console(quiet=True)
    whole = train(config, console=quiet)
    cut = config.replace(output=str(tmp_path / "cut"))
    train(cut, console=quiet)
    folder = RunFolder(cut.output)
    shutil.rmtree(folder.checkpoints / "checkpoint-6")  # as a kill after step 5 leaves it
    write_manifest(cut.output, read_manifest(cut.output).replace(status="running"))
    assert folder.latest_checkpoint().name == "checkpoint-4"
    resumed = train(cut, resume=True, console=quiet)
    for model in ("best", "last"):
        first, second = (load_file(run.folder / model / "model.safetensors") for run in (whole, resumed))
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_padding_counts_toward_the_budget(tiny_bert, monkeypatch):
    """One long row after many short ones, in either column, would pad them all to its length."""
    encoder = build_encoder(tiny_bert, device="cpu").eval().double()
    long = " ".join(sentences(9))
    columns = [["the cat"] * 20 + [long, "the"], ["the dogs"] * 7 + [long] + ["a mat"] * 14]
    sizes = note_sizes(monkeypatch)
    features = [encoder.preprocess(texts) for texts in columns]
    cached = step(CachedGSInfoNCELoss(encoder, mini_batch_tokens=70, noise_count=16), features)
    assert max(rows * width for rows, width in sizes if rows > 1) <= 70
    assert len(sizes) < 2 * 2 * len(columns[0]) / 4  # few pieces all the same
    assert_equal(step(GSInfoNCELoss(encoder, noise_count=16), features), cached)


@pytest.mark.slow
def test_documents_of_8192_tokens_are_encoded_one_at_a_time(tmp_path, monkeypatch):
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    size |= {"layer_types": ["full_attention"], "max_position_embeddings": 8192, "attention_dropout": 0.1}
    path = save_tiny_model(tmp_path, "modernbert", **size)
    encoder = build_encoder(path, max_length=8192, device="cpu").eval()
    words = " ".join(sentences(2000)).split()
    documents = [" ".join(words[first : first + count]) for first, count in ((0, 9000), (40, 3000))]
    sizes = note_sizes(monkeypatch)
    features = [encoder.preprocess(documents, max_length=8192), encoder.preprocess(sentences(2))]
    assert features[0]["attention_mask"].sum(dim=1)[0] == 8192
    cached = step(CachedGSInfoNCELoss(encoder, mini_batch_tokens=8192), features)
    assert max(rows * width for rows, width in sizes) == 8192
    plain = step(GSInfoNCELoss(encoder), features)
    torch.testing.assert_close(cached[0], plain[0], rtol=1e-5, atol=1e-5)
    largest = max(gradient.abs().max() for gradient in plain[2].values())
    assert all((cached[2][name] - gradient).abs().max() < 1e-4 * largest for name, gradient in plain[2].items())
