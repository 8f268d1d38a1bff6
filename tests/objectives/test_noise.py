"""The noise source is stateless, and its expectation is the closed form."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse.objectives import GaussianNoise, log_expected_similarity


def test_same_arguments_give_the_same_rows_and_move_no_global_state():
    state = torch.get_rng_state()
    first = GaussianNoise(seed=7).draw(3, 5, 4)
    torch.rand(100)
    torch.set_rng_state(state)
    assert torch.equal(first, GaussianNoise(seed=7).draw(3, 5, 4))
    assert torch.equal(state, torch.get_rng_state())
    assert not first.requires_grad


@settings(max_examples=50)
@given(a=st.tuples(st.integers(0, 50), st.integers(0, 50)), b=st.tuples(st.integers(0, 50), st.integers(0, 50)))
def test_other_seed_or_step_gives_other_rows(a, b):
    draws = [GaussianNoise(seed=seed).draw(step, 2, 3) for seed, step in (a, b)]
    assert torch.equal(*draws) == (a == b)


def test_moments():
    noise = GaussianNoise(seed=1, mean=0.5, std=2.0).draw(0, 20_000, 16)
    assert noise.shape == (20_000, 16)
    assert noise.mean().item() == pytest.approx(0.5, abs=0.02)
    assert noise.std().item() == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize("dim", [2, 3, 64, 384, 768, 1024, 16_384])
@pytest.mark.parametrize("tau", [0.01, 0.05, 0.2, 1.0])
def test_expectation_equals_the_bessel_form(dim, tau):
    with mpmath.workdps(60):
        nu = mpmath.mpf(dim) / 2 - 1
        exact = mpmath.loggamma(nu + 1) + nu * mpmath.log(2 * mpmath.mpf(tau))
        exact += mpmath.log(mpmath.besseli(nu, 1 / mpmath.mpf(tau)))
    assert log_expected_similarity(dim, tau) == pytest.approx(float(exact), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("dim", "tau"), [(2, 0.5), (3, 0.05), (10, 0.1), (384, 0.05), (768, 0.05)])
def test_expectation_equals_a_numerical_integral_over_the_sphere(dim, tau):
    def density(angle):
        return mpmath.sin(angle) ** (dim - 2)

    points = [0, mpmath.pi / 4, mpmath.pi / 2, 3 * mpmath.pi / 4, mpmath.pi]
    numerator = mpmath.quad(lambda angle: mpmath.exp(mpmath.cos(angle) / tau) * density(angle), points)
    exact = mpmath.log(numerator / mpmath.quad(density, points))
    assert log_expected_similarity(dim, tau) == pytest.approx(float(exact), rel=1e-8)


def test_known_figures():
    assert math.exp(log_expected_similarity(768, 0.05)) == pytest.approx(1.297, abs=5e-4)
    assert math.exp(log_expected_similarity(384, 0.05)) == pytest.approx(1.682, abs=5e-4)


def test_drawn_noise_agrees_with_the_expectation():
    z = torch.nn.functional.normalize(torch.ones(1, 384), dim=1)
    noise = torch.nn.functional.normalize(GaussianNoise(seed=3).draw(0, 50_000, 384), dim=1)
    values = (noise @ z.T / 0.05).exp()
    standard_error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - math.exp(log_expected_similarity(384, 0.05))) < 3.5 * standard_error
