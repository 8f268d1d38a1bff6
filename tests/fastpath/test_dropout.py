"""The fast dropout drops as torch's does: at its rate, independently, unbiased, repeatably."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from smoothcse.encoders.build import build_encoder
from smoothcse.fastpath import accelerate
from smoothcse.fastpath.dropout import fast_dropout, is_fast
from smoothcse.training.determinism import seed_rank


@settings(max_examples=30, deadline=None)
@given(rate=st.floats(0.001, 0.9), count=st.integers(1, 4001), seed=st.integers(0, 2**31))
def test_an_element_is_either_dropped_or_scaled(rate, count, seed):
    torch.manual_seed(seed)
    values = torch.ones(count, requires_grad=True)
    dropped = fast_dropout(values, rate)
    dropped.sum().backward()
    scale = 1 / (1 - round(rate * 65536) / 65536)
    assert ((dropped == 0) | (dropped - scale).abs().lt(1e-6 * scale)).all()
    assert torch.equal(values.grad, dropped.detach())


def test_the_mask_is_kept_where_gradient_checkpointing_can_drop_it():
    """Checkpointing recomputes what was given to `save_for_backward`, and keeps all other tensors."""
    kept = []
    values = torch.ones(10, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        dropped = fast_dropout(values, 0.5)
    assert [tensor.shape for tensor in kept] == [values.shape]
    assert not [name for name, value in vars(dropped.grad_fn).items() if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5])
def test_the_rate_holds_in_each_of_the_four_lanes_and_neighbours_are_independent(rate):
    torch.manual_seed(0)
    count = 400_000
    kept = fast_dropout(torch.ones(count), rate) != 0
    assert (1 - kept.double().mean()).item() == pytest.approx(rate, abs=4 * (rate / count) ** 0.5)
    for lane in range(4):
        assert (1 - kept[lane::4].double().mean()).item() == pytest.approx(rate, abs=5 * (4 * rate / count) ** 0.5)
    for shift in (1, 2, 3, 4, 8):
        both = (~kept[:-shift] & ~kept[shift:]).double().mean().item()
        assert both == pytest.approx(rate**2, abs=5 * rate / count**0.5)


def test_the_same_state_gives_the_same_mask_and_evaluation_gives_none():
    dropout, values = nn.Dropout(0.3), torch.randn(7, 11)
    with accelerate(dropout, parts=["dropout"]):
        torch.manual_seed(5)
        first = dropout(values)
        torch.manual_seed(5)
        assert torch.equal(dropout(values), first)
        assert not torch.equal(dropout(values), first)
        torch.manual_seed(5)
        assert torch.equal(fast_dropout(values, 0.3), first)
        assert dropout.eval()(values) is values
        assert dropout.train()(values.bfloat16()).dtype == torch.bfloat16


def test_only_active_dropout_is_made_fast_and_the_weights_keep_their_names(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu").train()
    names = list(encoder.state_dict())
    active = [m for m in encoder.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    assert active
    with accelerate(encoder, parts=["dropout"]):
        assert [m for m in encoder.modules() if is_fast(m)] == active
        assert list(encoder.state_dict()) == names
    model = nn.Sequential(nn.Dropout(0.0))
    with accelerate(model, parts=["dropout"]):
        assert not is_fast(model[0])


def test_ranks_draw_different_masks_and_the_first_those_of_one_device():
    masks = []
    for rank in (0, 1, 2, 1):
        seed_rank(7, rank)
        masks.append(fast_dropout(torch.ones(1000), 0.5))
    torch.manual_seed(7)
    assert torch.equal(fast_dropout(torch.ones(1000), 0.5), masks[0])
    assert torch.equal(masks[1], masks[3])
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert 0.4 < (masks[a] == masks[b]).float().mean() < 0.6
