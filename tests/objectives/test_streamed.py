"""The streamed loss is the loss: same value, same gradients, whatever the blocks, in memory that does not grow."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse.methods import GSInfoNCELoss
from smoothcse.objectives import (
    GaussianNoise,
    HardNegatives,
    Keys,
    Noise,
    balance_noise,
    noise_share,
    own_positive_loss,
    similarity_logits,
    streamed_contrast,
    streamed_log_sum_exps,
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
    step, mode = 7, "expected" if expected else "sampled"
    noise = Noise(m, weight=weight, share=share, mode=mode, source=GaussianNoise(seed))
    keys = Keys(z2, None if z3 is None else HardNegatives(z3, log_weight), first_positive=first)
    logits = similarity_logits(z1, keys, noise, temperature=temperature, step=step)
    columns = min(m, 1) if expected else m
    if share and columns:
        if n + others + hard * (n + others) == 1:
            return  # no negatives, of whose mass the noise could have a share
        logits = balance_noise(logits, n + others, columns, share, first_positive=first)
    dense = own_positive_loss(logits, first)
    inputs = [z for z in (z1, z2, z3) if z is not None]
    expected_gradients = torch.autograd.grad(dense, inputs)

    terms = streamed_log_sum_exps(z1, keys, noise, temperature=temperature, step=step, block_elements=elements)
    if share and m:
        terms = terms.balanced(share)
    streamed = terms.loss()
    torch.testing.assert_close(streamed, dense, rtol=1e-9, atol=1e-12)
    for gradient, wanted in zip(torch.autograd.grad(streamed, inputs), expected_gradients, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-7, atol=1e-10)
    wanted_share = noise_share(logits, n + others, columns, first_positive=first)
    torch.testing.assert_close(terms.noise_share(), wanted_share, rtol=1e-7, atol=1e-12)


def test_gradients_agree_with_finite_differences():
    z1, z2, z3 = rows(4, 3, 0), rows(6, 3, 1), rows(6, 3, 2)

    def loss(*z):
        keys = Keys(z[1], HardNegatives(z[2], 0.7), first_positive=1)
        noise = Noise(5, source=GaussianNoise(1))
        return streamed_log_sum_exps(z[0], keys, noise, temperature=0.3, block_elements=9).loss()

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
    wanted = streamed_contrast(z1, Keys(z2), Noise(20)).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = streamed_contrast(z1, Keys(z2), Noise(20)).loss
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
