"""What only a GPU can show: noise drawn there, half precisions, pieces that fit, runs that repeat."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console

from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.methods import CachedGSInfoNCELoss, GSInfoNCELoss
from smoothcse.objectives import GaussianNoise
from smoothcse.runs.folder import RunFolder
from smoothcse.training import make_config, train
from smoothcse.training.callbacks import FiniteLoss
from smoothcse.training.mini_batch import mini_batch_tokens
from tiny import sentences

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_noise_is_drawn_where_it_is_used_and_is_the_same_again():
    noise = GaussianNoise(3)
    first = noise.draw(5, 5000, 64, device="cuda")
    assert first.device.type == "cuda"
    assert torch.equal(first, noise.draw(5, 5000, 64, device="cuda"))
    assert abs(first.mean().item()) < 0.01
    assert abs(first.std().item() - 1) < 0.01


@pytest.mark.parametrize("options", [{}, {"noise_count": 0}, {"noise_mode": "expected"}, {"noise_share": 0.4}])
def test_the_loss_does_not_wait_for_the_device(options, tmp_path):
    loss = GSInfoNCELoss(torch.nn.Identity(), **options)
    loss.step = 0
    watch = FiniteLoss(loss, RunFolder(tmp_path))
    views = [torch.randn(64, 32, device="cuda", requires_grad=True) for _ in range(2)]
    loss.compute_loss_from_embeddings(views).backward()  # loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        value = loss.compute_loss_from_embeddings(views)
        value.backward()
        watch._watch(loss, None, value)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_cached_gradient_is_the_plain_one(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cuda").eval().double()
    features = {
        name: value.cuda() for name, value in encoder.preprocess(sentences(11)).items() if torch.is_tensor(value)
    }
    found = []
    for loss in (GSInfoNCELoss(encoder), CachedGSInfoNCELoss(encoder, mini_batch_tokens=40)):
        encoder.zero_grad()
        loss.step = 0
        loss([dict(features)]).backward()
        found.append({name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-7, atol=1e-10)


def test_embeddings_in_bf16_are_near_to_those_in_fp32(minilm):
    model, texts = load_encoder(minilm, device="cuda"), sentences(200)
    exact, rounded = (encode(model, texts, precision=precision, normalize=True) for precision in ("fp32", "bf16"))
    assert (exact * rounded).sum(axis=1).min() > 0.9995


def test_the_largest_mini_batch_that_fits_is_found(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cuda")
    assert mini_batch_tokens("auto", encoder, sentences=64, max_length=32) >= 1024


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("mini_batch", [None, 100])
def test_a_run_in_each_precision(precision, mini_batch, tiny_bert, corpus_file, tmp_path):
    config = make_config(
        {
            "corpus": str(corpus_file),
            "model": tiny_bert,
            "output": str(tmp_path / "run"),
            "batch_size": 16,
            "max_steps": 4,
            "eval_steps": 2,
            "log_steps": 1,
            "precision": precision,
            "mini_batch": mini_batch,
        }
    )
    train(config, console=Console(quiet=True))
    losses = [entry["loss"] for entry in RunFolder(config.output).metrics() if "loss" in entry]
    assert len(losses) == 4
    assert all(0 < loss < 10 for loss in losses)
