"""The controls of the noise study: noise of each anchor against loops, and the norm of the noise on the gradient."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from smoothcse.objectives import GaussianNoise

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "noise_variants.py"


@pytest.fixture(scope="module")
def variants():
    return SimpleNamespace(**runpy.run_path(str(BENCHMARK)))


def test_noise_of_its_own_for_each_anchor_equals_loops(variants):
    z1, z2 = torch.randn(2, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    loss = variants.PerAnchorNoiseLoss(torch.nn.Identity(), noise_count=5, noise_weight=2.0, temperature=0.1, seed=3)
    loss.step = 4
    noise = variants.draw_per_anchor(GaussianNoise(3), 4, z1, 5).double()
    assert noise.shape == (3, 5, 8)
    assert not torch.allclose(noise[0], noise[1])
    total, share = 0.0, 0.0
    for i in range(3):
        s = [math.exp(float(torch.cosine_similarity(z1[i], z2[j], dim=0)) / 0.1) for j in range(3)]
        g = [math.exp(float(torch.cosine_similarity(z1[i], noise[i, k], dim=0)) / 0.1) for k in range(5)]
        total -= math.log(s[i] / (sum(s) + 2.0 * sum(g)))
        share += 2.0 * sum(g) / (sum(s) - s[i] + 2.0 * sum(g))
    assert float(loss.compute_loss_from_embeddings([z1, z2])) == pytest.approx(total / 3)
    assert float(loss.last_noise_share) == pytest.approx(share / 3)


def test_gradient_noise_has_the_asked_norm_and_is_the_same_after_a_resume(variants):
    def disturbed():
        model = torch.nn.Linear(400, 50)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.01)
        state = SimpleNamespace(global_step=3)
        variants.GradientNoise(0.5, seed=1).on_pre_optimizer_step(None, state, None, model=model)
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    first, again = disturbed(), disturbed()
    clean = torch.full_like(first, 0.01)
    assert torch.equal(first, again)
    assert float((first - clean).norm() / clean.norm()) == pytest.approx(0.5, rel=0.02)
