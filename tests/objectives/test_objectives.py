"""The objectives equal the authors' values, the host's loss, and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor

from smoothcse.objectives import (
    FixedNoise,
    GaussianNoise,
    HardNegatives,
    Keys,
    Noise,
    balance_noise,
    gs_info_nce,
    info_nce,
    noise_share,
    own_positive_loss,
    similarity_logits,
)
from smoothcse.objectives.rows import unit_rows

GOLDEN = ["small", "no_noise", "paper_shape", "hard_negatives"]


def rows(seed: int, count: int, dim: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fixed(vectors: Tensor, weight: float = 1.0) -> Noise:
    return Noise(len(vectors), weight=weight, source=FixedNoise(vectors))


def hard_negatives(vectors: Tensor | None, log_weight: float) -> HardNegatives | None:
    return None if vectors is None else HardNegatives(vectors, log_weight)


def loop_loss(z1, z2, noise, z3, tau, weight, log_weight) -> float:
    """The definition, one scalar at a time."""

    def s(a: Tensor, b: Tensor) -> float:
        return float(a @ b / (a.norm() * b.norm())) / tau

    total = 0.0
    for i in range(len(z1)):
        denominator = sum(math.exp(s(z1[i], z2[j])) for j in range(len(z2)))
        denominator += weight * sum(math.exp(s(z1[i], g)) for g in noise)
        denominator += sum(math.exp(s(z1[i], z3[j]) + (log_weight if i == j else 0)) for j in range(len(z3)))
        total -= math.log(math.exp(s(z1[i], z2[i])) / denominator)
    return total / len(z1)


@pytest.mark.parametrize("name", GOLDEN)
def test_equals_the_authors_golden_values(shared, name):
    golden = np.load(shared / "reference" / "golden" / f"{name}.npz")
    leaves = {key: torch.tensor(golden[key], requires_grad=True) for key in ("z1", "z2", "z3") if key in golden}
    noise, tau = fixed(torch.tensor(golden["noise"])), float(golden["temperature"])
    hard = hard_negatives(leaves.get("z3"), float(golden["hard_negative_log_weight"]))
    logits = similarity_logits(leaves["z1"], Keys(leaves["z2"], hard), noise, temperature=tau)
    loss = gs_info_nce(leaves["z1"], leaves["z2"], noise=noise, hard_negatives=hard, temperature=tau)
    loss.backward()

    np.testing.assert_allclose(logits.detach(), golden["logits"], atol=2e-5, rtol=0)
    # Golden values are float32's, and a loss that is tiny next to its logits has lost digits in them: paper_shape says
    # 5.432e-5 where its own inputs give 5.447e-5 in float64, and other CPUs round otherwise. Ours keep the digits.
    rounding = float(np.abs(golden["logits"]).max() * np.finfo(np.float32).eps / len(logits) ** 0.5)
    assert loss.item() == pytest.approx(float(golden["loss"]), rel=1e-5, abs=rounding)
    tolerance = 1e-4 + rounding / float(golden["loss"])
    for key, leaf in leaves.items():
        expected = golden[f"grad_{key}"]
        np.testing.assert_allclose(leaf.grad, expected, atol=tolerance * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("name", GOLDEN)
def test_equals_the_authors_formula_in_float64(shared, name):
    golden = np.load(shared / "reference" / "golden" / f"{name}.npz")
    inputs = {key: torch.tensor(golden[key]) for key in ("z1", "z2", "z3") if key in golden}
    ours = {key: value.clone().requires_grad_() for key, value in inputs.items()}
    exact = {key: value.double().requires_grad_() for key, value in inputs.items()}
    noise, tau = torch.tensor(golden["noise"]), float(golden["temperature"])
    log_weight = float(golden["hard_negative_log_weight"])

    hard = hard_negatives(ours.get("z3"), log_weight)
    loss = gs_info_nce(ours["z1"], ours["z2"], noise=noise, hard_negatives=hard, temperature=tau)
    loss.backward()

    blocks = [torch.cosine_similarity(exact["z1"][:, None], exact["z2"][None], dim=2) / tau]
    if len(noise):
        blocks.append(torch.cosine_similarity(exact["z1"][:, None], noise.double()[None], dim=2) / tau)
    if "z3" in exact:
        hard = torch.cosine_similarity(exact["z1"][:, None], exact["z3"][None], dim=2) / tau
        blocks.append(hard + log_weight * torch.eye(*hard.shape))
    expected = torch.nn.functional.cross_entropy(torch.cat(blocks, dim=1), torch.arange(len(exact["z1"])))
    expected.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for key, leaf in ours.items():
        torch.testing.assert_close(
            leaf.grad.double(), exact[key].grad, rtol=0, atol=1e-4 * float(exact[key].grad.abs().max())
        )


@pytest.mark.parametrize("noise_count", [0, 1, 24, 192])
def test_equals_the_hosts_ranking_loss_with_a_noise_column(noise_count):
    z1, z2, noise = (rows(seed, count, 32, torch.float32) for seed, count in ((0, 8), (1, 8), (2, noise_count)))
    host = MultipleNegativesRankingLoss(model=None, scale=20.0)
    columns = [z1, z2, noise] if noise_count else [z1, z2]
    expected = host.compute_loss_from_embeddings(columns, None)
    torch.testing.assert_close(gs_info_nce(z1, z2, noise=noise), expected, rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 6),
    d=st.integers(2, 9),
    m=st.integers(0, 7),
    hard=st.booleans(),
    tau=st.floats(0.05, 1.0),
    weight=st.floats(0.05, 20.0),
    log_weight=st.floats(-2, 2),
    seed=st.integers(0, 10_000),
)
def test_equals_plain_loops(n, d, m, hard, tau, weight, log_weight, seed):
    z1, z2, noise = rows(seed, n, d), rows(seed + 1, n, d), rows(seed + 2, m, d)
    z3 = rows(seed + 3, n, d) if hard else None
    hard = hard_negatives(z3, log_weight)
    loss = gs_info_nce(z1, z2, noise=fixed(noise, weight), hard_negatives=hard, temperature=tau)
    expected = loop_loss(z1, z2, noise, [] if z3 is None else z3, tau, weight, log_weight)
    assert loss.item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 8), d=st.integers(2, 8), seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_invariances(n, d, seed, scale):
    z1, z2, noise = rows(seed, n, d), rows(seed + 1, n, d), rows(seed + 2, 5, d)
    loss = gs_info_nce(z1, z2, noise=noise)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    rotation = torch.linalg.qr(rows(seed + 3, d, d))[0]

    torch.testing.assert_close(gs_info_nce(z1[order], z2[order], noise=noise), loss)
    torch.testing.assert_close(gs_info_nce(z1 @ rotation, z2 @ rotation, noise=noise @ rotation), loss)
    torch.testing.assert_close(gs_info_nce(z1 * scale, z2, noise=noise / scale), loss)
    assert loss >= 0
    assert gs_info_nce(z1, z2, noise=noise[:3]) <= loss + 1e-12  # more noise, larger denominator


def test_without_noise_it_is_info_nce():
    z1, z2 = rows(0, 8, 16), rows(1, 8, 16)
    assert torch.equal(gs_info_nce(z1, z2), info_nce(z1, z2))
    assert torch.equal(gs_info_nce(z1, z2, noise=rows(2, 0, 16)), info_nce(z1, z2))


@settings(deadline=None, max_examples=20)
@given(std=st.floats(1e-3, 1e3), seed=st.integers(0, 1000), step=st.integers(0, 10**6))
def test_standard_deviation_cannot_matter_at_mean_zero(std, seed, step):
    z1, z2 = rows(seed, 6, 16, torch.float32), rows(seed + 1, 6, 16, torch.float32)
    unit, scaled = (GaussianNoise(seed=seed, std=value).draw(step, 9, 16) for value in (1.0, std))
    torch.testing.assert_close(
        gs_info_nce(z1, z2, noise=scaled), gs_info_nce(z1, z2, noise=unit), rtol=1e-5, atol=1e-6
    )


def test_a_mean_shift_does_matter():
    z1, z2 = rows(0, 6, 16, torch.float32), rows(1, 6, 16, torch.float32)
    centred, shifted = (GaussianNoise(mean=mean).draw(0, 64, 16) for mean in (0.0, 3.0))
    assert abs(gs_info_nce(z1, z2, noise=centred) - gs_info_nce(z1, z2, noise=shifted)) > 1e-3


def test_weight_lambda_equals_repeating_the_noise():
    z1, z2, noise = rows(0, 5, 8), rows(1, 5, 8), rows(2, 4, 8)
    torch.testing.assert_close(
        gs_info_nce(z1, z2, noise=fixed(noise, 3.0)), gs_info_nce(z1, z2, noise=noise.repeat(3, 1))
    )


def test_expected_mode_is_the_mean_over_many_draws():
    z1, z2 = rows(0, 4, 64, torch.float32), rows(1, 4, 64, torch.float32)
    many = gs_info_nce(z1, z2, noise=Noise(200_000, weight=2.0), temperature=0.2)
    expected = gs_info_nce(z1, z2, noise=Noise(200_000, weight=2.0, mode="expected"), temperature=0.2)
    assert many.item() == pytest.approx(expected.item(), abs=3e-3)


def test_ranks_scoring_their_own_rows_average_to_the_whole_batch():
    z1, z2, z3 = rows(0, 8, 16), rows(1, 8, 16), rows(2, 8, 16)
    common = {"hard_negatives": HardNegatives(z3, 0.7), "noise": rows(3, 5, 16)}
    parts = [gs_info_nce(z1[first : first + 4], z2, first_positive=first, **common) for first in (0, 4)]
    torch.testing.assert_close(sum(parts) / 2, gs_info_nce(z1, z2, **common))


def test_arithmetic_is_float32_under_autocast():
    z1, z2, noise = (rows(seed, count, 32, torch.float32) for seed, count in ((0, 8), (1, 8), (2, 24)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = gs_info_nce(z1, z2, noise=noise)
        from_half = gs_info_nce(z1.bfloat16(), z2.bfloat16(), noise=noise)
    assert inside.dtype == from_half.dtype == torch.float32
    assert torch.equal(inside, gs_info_nce(z1, z2, noise=noise))


def test_degenerate_rows_keep_finite_gradients():
    z1 = torch.zeros(4, 8, requires_grad=True)
    z2 = torch.ones(4, 8, requires_grad=True)
    gs_info_nce(z1, z2, noise=rows(0, 3, 8, torch.float32)).backward()
    assert torch.isfinite(z1.grad).all()
    assert torch.isfinite(z2.grad).all()


def test_noise_share_equals_its_definition():
    z1, z2, z3, noise = rows(0, 5, 8), rows(1, 5, 8), rows(2, 5, 8), rows(3, 7, 8)
    logits = similarity_logits(z1, Keys(z2, HardNegatives(z3)), fixed(noise, 2.0), temperature=0.3)
    mass = logits.exp()
    expected = sum(mass[i, 5:12].sum() / (mass[i].sum() - mass[i, i]) for i in range(5)) / 5
    torch.testing.assert_close(noise_share(logits, 5, 7), expected)
    assert noise_share(similarity_logits(z1, Keys(z2)), 5, 0) == 0


def test_no_tensor_of_n_by_n_by_d_is_made():
    """The largest allocation of a forward pass stays of the order of the logits."""
    z1, z2, noise = (
        rows(0, 256, 64, torch.float32),
        rows(1, 256, 64, torch.float32),
        rows(2, 768, 64, torch.float32),
    )
    with torch.profiler.profile(profile_memory=True) as profile:
        gs_info_nce(z1, z2, noise=noise)
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert 0 < largest <= 3 * 4 * 256 * (256 + 768)  # N x N x d in float32 would be 16.8 MB, this is 3.1 MB


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(1, 20), st.floats(0.01, 0.99), st.floats(0.05, 1.0), st.integers(0, 2**16))
def test_balanced_noise_holds_its_share_of_each_anchors_negatives(n, m, share, tau, seed):
    noise = fixed(rows(seed + 2, m, 8))
    logits = similarity_logits(rows(seed, n, 8), Keys(rows(seed + 1, n, 8)), noise, temperature=tau)
    balanced = balance_noise(logits, n, m, share)
    exponentials = balanced.exp()
    noise, negatives = exponentials[:, n:].sum(1), exponentials[:, :n].sum(1) - exponentials.diagonal()
    torch.testing.assert_close(noise / (noise + negatives), torch.full((n,), share, dtype=torch.float64))
    torch.testing.assert_close(balanced[:, :n], logits[:, :n])
    assert float(noise_share(balanced, n, m)) == pytest.approx(share)


def test_balancing_passes_the_gradient_of_fixed_weights():
    z1, z2, noise = rows(0, 4, 8).requires_grad_(), rows(1, 4, 8), rows(2, 6, 8)
    balanced = balance_noise(similarity_logits(z1, Keys(z2), fixed(noise)), 4, 6, 0.3)
    weights = (balanced - similarity_logits(z1, Keys(z2), fixed(noise)))[:, 4].detach()
    [gradient] = torch.autograd.grad(own_positive_loss(balanced), z1)
    for i in range(4):  # each anchor on its own, with its weight
        alone = gs_info_nce(z1[[i]], z2, noise=fixed(noise, float(weights[i].exp())), first_positive=i)
        [expected] = torch.autograd.grad(alone, z1)
        torch.testing.assert_close(gradient[i], expected[i] / 4)


def test_a_tiny_loss_and_its_gradient_keep_their_digits_in_float32():
    logits = torch.tensor([[20.0, 4.0, 3.0], [2.0, 20.0, 5.0]], requires_grad=True)
    exact = logits.detach().double().requires_grad_()
    torch.nn.functional.cross_entropy(exact, torch.arange(2)).backward()
    own_positive_loss(logits).backward()
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=1e-5, atol=0)


def test_a_batch_of_one_without_noise_has_no_loss_and_no_gradient():
    z1 = rows(0, 1, 8).requires_grad_()
    loss = info_nce(z1, rows(1, 1, 8))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(z1.grad, torch.zeros(1, 8, dtype=torch.float64))


def test_rows_are_normalised_along_the_last_dimension():
    tensor = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit_rows(tensor).norm(dim=-1), torch.ones(2, 3))
