"""The geometry of embeddings against loops in float64 that know nothing of the closed forms and blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from smoothcse.objectives.geometry import alignment, effective_rank, hubness, mean_cosine, uniformity

seeds = st.integers(0, 2**31 - 1)
sizes = st.tuples(st.integers(2, 14), st.integers(2, 9))


def rows(seed: int, n: int, d: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.rand(n, 1, generator=generator, dtype=torch.float64) * 9 + 0.1
    return (lengths * (torch.randn(n, d, generator=generator, dtype=torch.float64) + 0.3)).to(dtype)


def rotation(seed: int, d: int) -> Tensor:
    return torch.linalg.qr(rows(seed, d, d)).Q


def unit(x: Tensor) -> list[list[float]]:
    return [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in x.double().tolist()]


def squared_distance(a: list[float], b: list[float]) -> float:
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))


def slow_uniformity(x: Tensor, t: float) -> float:
    points = unit(x)
    potentials = [
        math.exp(-t * squared_distance(a, b)) for i, a in enumerate(points) for j, b in enumerate(points) if i != j
    ]
    return math.log(sum(potentials) / len(potentials))


def slow_hubness(x: Tensor, k: int) -> float:
    points = unit(x)
    counts = [0] * len(points)
    for i, a in enumerate(points):
        others = sorted((squared_distance(a, b), j) for j, b in enumerate(points) if j != i)
        for _, j in others[:k]:
            counts[j] += 1
    mean = sum(counts) / len(counts)
    variance = sum((c - mean) ** 2 for c in counts) / len(counts)
    third = sum((c - mean) ** 3 for c in counts) / len(counts)
    return third / variance**1.5 if variance else 0.0


@given(seeds, sizes, st.sampled_from([1.0, 2.0, 3.5]))
def test_alignment_is_the_mean_power_of_the_distance(seed, size, alpha):
    x, y = rows(seed, *size), rows(seed + 1, *size)
    expected = np.mean([math.sqrt(squared_distance(a, b)) ** alpha for a, b in zip(unit(x), unit(y), strict=True)])
    value = alignment(x, y, alpha).item()
    assert value == pytest.approx(expected, rel=1e-12)
    assert 0 <= value <= 2**alpha
    assert alignment(x, x, alpha).item() == 0.0


@given(seeds, sizes, st.sampled_from([0.5, 2.0, 10.0]))
def test_uniformity_is_the_log_mean_over_distinct_pairs(seed, size, t):
    x = rows(seed, *size)
    value = uniformity(x, t).item()
    assert value == pytest.approx(slow_uniformity(x, t), rel=1e-9, abs=1e-12)
    assert -4 * t - 1e-12 <= value <= 0.0


def test_uniformity_reaches_both_bounds_and_does_not_underflow():
    v = torch.tensor([[3.0, 4.0]])
    assert uniformity(torch.cat([v, -2 * v]), 2.0).item() == pytest.approx(-8.0, rel=1e-6)
    assert uniformity(torch.cat([v, -v]), 1000.0).item() == pytest.approx(-4000.0, rel=1e-6)
    assert uniformity(v.repeat(50, 1)).item() == pytest.approx(0.0, abs=1e-6)


@given(seeds, sizes)
def test_mean_cosine_leaves_out_the_diagonal(seed, size):
    x = rows(seed, *size)
    points, n = unit(x), size[0]
    cosines = [
        sum(p * q for p, q in zip(points[i], points[j], strict=True)) for i in range(n) for j in range(n) if i != j
    ]
    value = mean_cosine(x).item()
    assert value == pytest.approx(np.mean(cosines), abs=1e-12)
    assert -1 / (n - 1) - 1e-12 <= value <= 1 + 1e-12


@given(seeds, sizes)
def test_effective_rank_is_the_exponential_of_the_spectral_entropy(seed, size):
    x = rows(seed, *size)
    singular = np.sqrt(np.clip(np.linalg.eigvalsh((x.T @ x).numpy()), 0, None))  # another road to the spectrum
    shares = [s / singular.sum() for s in singular if s > 0]
    value = effective_rank(x).item()
    assert value == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-4)
    assert 1 - 1e-9 <= value <= min(size) + 1e-9


def test_effective_rank_of_known_matrices():
    assert effective_rank(torch.eye(6)).item() == pytest.approx(6.0, rel=1e-6)
    assert effective_rank(torch.ones(6, 3)).item() == pytest.approx(1.0, abs=1e-4)
    assert effective_rank(torch.zeros(6, 3)).item() == 1.0


@settings(deadline=None)
@given(seeds, st.tuples(st.integers(5, 25), st.integers(2, 6)), st.integers(1, 4))
def test_hubness_is_the_skewness_of_the_occurrences(seed, size, k):
    x = rows(seed, *size)
    assert hubness(x, k).item() == pytest.approx(slow_hubness(x, k), rel=1e-9, abs=1e-12)


def test_a_hub_makes_the_skewness_positive_and_a_ring_has_none():
    angles = torch.arange(12) * math.tau / 12
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert hubness(ring, 2).item() == 0.0
    spokes = torch.eye(12)
    assert hubness(torch.cat([spokes, torch.ones(1, 12)]), 1).item() > 3


@settings(deadline=None)
@given(seeds, st.tuples(st.integers(4, 14), st.integers(2, 9)), st.floats(1e-3, 1e3))
def test_rotating_permuting_and_scaling_change_nothing(seed, size, scale):
    x, y, turn = rows(seed, *size), rows(seed + 1, *size), rotation(seed + 2, size[1])
    order = torch.randperm(size[0], generator=torch.Generator().manual_seed(seed))
    moved, moved_y = scale * (x @ turn)[order], scale * (y @ turn)[order]
    lengths = rows(seed + 3, size[0], 1).abs() + 0.1
    for measure in (uniformity, mean_cosine, lambda z: hubness(z, 3), effective_rank):
        assert measure(moved).item() == pytest.approx(measure(x).item(), rel=1e-7, abs=1e-9)
    for measure in (uniformity, mean_cosine, lambda z: hubness(z, 3)):  # these see directions alone
        assert measure(lengths * x).item() == pytest.approx(measure(x).item(), rel=1e-7, abs=1e-9)
    assert alignment(moved, moved_y).item() == pytest.approx(alignment(x, y).item(), rel=1e-9)


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 36, 37, 1000])
def test_blocks_do_not_change_the_result(chunk_size):
    x = rows(0, 37, 8)
    assert uniformity(x, chunk_size=chunk_size).item() == pytest.approx(uniformity(x).item(), rel=1e-12)
    assert hubness(x, 5, chunk_size=chunk_size).item() == pytest.approx(hubness(x, 5).item(), rel=1e-12)


def test_the_default_blocks_hold_many_rows_in_bounded_memory(monkeypatch):
    monkeypatch.setattr("smoothcse.objectives.geometry._BLOCK", 500)
    x = rows(0, 101, 4)  # five rows or fewer a block
    assert uniformity(x).item() == pytest.approx(slow_uniformity(x, 2.0), rel=1e-9)
    assert hubness(x, 3).item() == pytest.approx(slow_hubness(x, 3), rel=1e-9)


def test_collapsed_rows_are_described_not_refused():
    x = torch.randn(1, 16).repeat(40, 1)
    assert uniformity(x).item() == pytest.approx(0.0, abs=1e-5)
    assert mean_cosine(x).item() == pytest.approx(1.0, abs=1e-5)
    assert effective_rank(x).item() == pytest.approx(1.0, abs=1e-3)
    assert math.isfinite(hubness(x, 5).item())


def test_half_precision_is_lifted_also_under_autocast():
    x = rows(0, 20, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        measured = [uniformity(x), mean_cosine(x), effective_rank(x), hubness(x, 3), alignment(x, x.flip(0))]
    exact = x.double()
    expected = [
        uniformity(exact),
        mean_cosine(exact),
        effective_rank(exact),
        hubness(exact, 3),
        alignment(exact, exact.flip(0)),
    ]
    assert all(value.dtype == torch.float32 for value in measured)
    torch.testing.assert_close(torch.stack(measured).double(), torch.stack(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk_size", [1, 3, None])
def test_they_can_be_trained_on(chunk_size):
    x, y = rows(0, 5, 3).requires_grad_(), rows(1, 5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: uniformity(z, chunk_size=chunk_size), (x,))
    assert torch.autograd.gradcheck(alignment, (x, y))
    assert torch.autograd.gradcheck(mean_cosine, (x,))


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="two rows"):
        uniformity(torch.ones(1, 3))
    with pytest.raises(ValueError, match="two rows"):
        mean_cosine(torch.ones(1, 3))
    with pytest.raises(ValueError, match="between 1 and n - 1 = 3"):
        hubness(torch.ones(4, 3), k=4)
