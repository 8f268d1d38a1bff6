"""The streamed loss is the loss: same value, same gradients, whatever the blocks, in memory that does not grow."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse.errors import SmoothCSEError
from smoothcse.methods import GSInfoNCELoss
from smoothcse.objectives import (
    GaussianNoise,
    balance_noise,
    noise_share,
    own_positive_loss,
    similarity_logits,
    streamed_masses,
)
from smoothcse.objectives.noise import BLOCK_ROWS


def rows(count, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64, requires_grad=True)


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(1, 9),
    others=st.integers(0, 5),
    first=st.integers(0, 5),
    d=st.integers(2, 7),
    m=st.integers(0, 11),
    hard=st.integers(0, 3),
    log_weight=st.sampled_from([0.0, 1.5]),
    weight=st.sampled_from([0.3, 1.0, 10.0]),
    expected=st.booleans(),
    share=st.sampled_from([None, 0.3]),
    temperature=st.sampled_from([0.05, 0.5]),
    elements=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_it_equals_the_dense_form(
    n, others, first, d, m, hard, log_weight, weight, expected, share, temperature, elements, seed
):
    first = min(first, others)
    z1, z2 = rows(n, d, seed), rows(n + others, d, seed + 1)
    z3 = rows((n + others) * hard, d, seed + 2) if hard else None
    weight = 1.0 if share else weight
    noise, step = GaussianNoise(seed), 7
    common = {"hard_negatives": z3, "hard_negative_log_weight": log_weight, "temperature": temperature}
    common |= {"noise_weight": weight, "first_positive": first}
    logits = similarity_logits(
        z1,
        z2,
        noise=noise.draw(step, m, d).double() if m and not expected else None,
        expected_noise_count=m if expected else 0,
        **common,
    )
    columns = min(m, 1) if expected else m
    if share and columns:
        if n + others + hard * (n + others) == 1:
            return  # no negatives, of whose mass the noise could have a share
        logits = balance_noise(logits, n + others, columns, share, first_positive=first)
    dense = own_positive_loss(logits, first)
    inputs = [z for z in (z1, z2, z3) if z is not None]
    expected_gradients = torch.autograd.grad(dense, inputs)

    masses = streamed_masses(
        z1,
        z2,
        noise=None if expected else noise,
        noise_step=step,
        noise_count=m,
        block_elements=elements,
        **common,
    )
    if share and m:
        masses = masses.balanced(share)
    streamed = masses.loss()
    torch.testing.assert_close(streamed, dense, rtol=1e-9, atol=1e-12)
    for gradient, wanted in zip(torch.autograd.grad(streamed, inputs), expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-7, atol=1e-10)
    wanted_share = noise_share(logits, n + others, columns, first_positive=first)
    torch.testing.assert_close(masses.noise_share(), wanted_share, rtol=1e-7, atol=1e-12)


def test_gradients_agree_with_finite_differences():
    z1, z2, z3 = rows(4, 3, 0), rows(6, 3, 1), rows(6, 3, 2)

    def loss(*z):
        return streamed_masses(
            z[0], z[1], noise=GaussianNoise(1), noise_count=5, hard_negatives=z[2], hard_negative_log_weight=0.7,
            temperature=0.3, first_positive=1, block_elements=9,
        ).loss()  # fmt: skip

    assert torch.autograd.gradcheck(loss, (z1, z2, z3))


@pytest.mark.parametrize("count", [1, BLOCK_ROWS, BLOCK_ROWS + 1, 2 * BLOCK_ROWS + 3])
def test_blocks_of_noise_are_the_rows_of_the_whole(count):
    noise = GaussianNoise(3)
    blocks = list(noise.draw_blocks(5, count, 2))
    assert max(map(len, blocks)) <= BLOCK_ROWS
    assert torch.equal(torch.cat(blocks), noise.draw(5, count, 2))
    assert noise.draw(5, count, 2).shape == (count, 2)
    if len(blocks) > 1:  # each block is drawn anew, not again
        assert not torch.equal(blocks[0][: len(blocks[-1])], blocks[-1])
        assert torch.equal(noise.draw(5, BLOCK_ROWS, 2), blocks[0])


def test_autocast_does_not_reach_it():
    z1, z2 = rows(8, 16, 0).float(), rows(8, 16, 1).float()
    wanted = streamed_masses(z1, z2, noise=GaussianNoise(0), noise_count=20).loss()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = streamed_masses(z1, z2, noise=GaussianNoise(0), noise_count=20).loss()
    assert found.dtype == torch.float32
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("options", [{}, {"noise_mode": "expected"}, {"noise_share": 0.4}, {"noise_count": 0}])
def test_the_adapter_takes_the_streamed_form_where_logits_are_many(options, monkeypatch):
    from smoothcse.methods import base

    loss = GSInfoNCELoss(torch.nn.Identity(), **{"noise_count": 30, **options})
    z = [rows(12, 8, 0), rows(12, 8, 1)]
    found = []
    for limit in (10**9, 0):
        monkeypatch.setattr(base, "DENSE_LOGITS", limit)
        loss.step = 3
        value = loss.compute_loss_from_embeddings(z)
        found.append([value, loss.last_noise_share, *torch.autograd.grad(value, z)])
    assert "Streamed" in str(_functions(value.grad_fn))
    for dense, streamed in zip(*found, strict=True):
        torch.testing.assert_close(streamed, dense, rtol=1e-8, atol=1e-11)


def _functions(function):
    return (
        [] if function is None else [function.name(), *[_functions(parent) for parent, _ in function.next_functions]]
    )


def test_noise_per_anchor_has_no_streamed_form(monkeypatch):
    from smoothcse.methods import base

    monkeypatch.setattr(base, "DENSE_LOGITS", 0)
    loss = GSInfoNCELoss(torch.nn.Identity(), noise_per_anchor=True)
    with pytest.raises(SmoothCSEError, match=r"noise_per_anchor .* batch_size"):
        loss.compute_loss_from_embeddings([rows(4, 8, 0), rows(4, 8, 1)])
