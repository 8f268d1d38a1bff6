"""What a loss passes on to the objective, in its dense and in its streamed form, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from smoothcse.errors import SmoothCSEError
from smoothcse.methods import CachedGSInfoNCELoss, ContrastiveLoss, GSInfoNCELoss, base, ranks
from smoothcse.methods.cached import _order_of_length, _sorted, with_gradient_caching
from smoothcse.objectives import (
    FixedNoise,
    GaussianNoise,
    HardNegatives,
    Keys,
    Noise,
    balance_noise,
    gs_info_nce,
    noise_share,
    similarity_logits,
)
from smoothcse.objectives import own_positive_loss as loss_of

STEP, COUNT, WIDTH = 4, 6, 8


def columns(number=3):
    generator = torch.Generator().manual_seed(2)
    return [*torch.randn(number, COUNT, WIDTH, dtype=torch.float64, generator=generator)]


def adapted(**options):
    loss = GSInfoNCELoss(nn.Identity(), **options)
    loss.step = STEP
    return loss


@pytest.fixture(params=["dense", "streamed"])
def form(request, monkeypatch):
    monkeypatch.setattr(base, "DENSE_LOGITS", 0 if request.param == "streamed" else 10**9)


@pytest.mark.usefixtures("form")
def test_the_defaults_are_the_documented_ones():
    z1, z2, z3 = columns()
    noise = GaussianNoise(seed=0, mean=0.0, std=1.0).draw(STEP, 192, WIDTH).double()
    expected = gs_info_nce(z1, z2, hard_negatives=z3, noise=noise, temperature=0.05)
    torch.testing.assert_close(adapted().compute_loss_from_embeddings([z1, z2, z3]), expected)


@pytest.mark.usefixtures("form")
def test_each_argument_reaches_the_objective():
    z1, z2, z3 = columns()
    common = {"noise_weight": 3.0, "temperature": 0.2, "hard_negative_log_weight": 0.7}
    keys = Keys(z2, HardNegatives(z3, 0.7))
    loss = adapted(noise_count=9, noise_mean=0.5, noise_std=2.0, seed=11, **common)
    noise = GaussianNoise(seed=11, mean=0.5, std=2.0).draw(STEP, 9, WIDTH).double()
    logits = similarity_logits(z1, keys, Noise(9, weight=3.0, source=FixedNoise(noise)), temperature=0.2)
    torch.testing.assert_close(loss.compute_loss_from_embeddings([z1, z2, z3]), loss_of(logits))
    torch.testing.assert_close(loss.last_noise_share, noise_share(logits, COUNT, 9))

    loss = adapted(noise_ratio=1.5, noise_mode="expected", **common)
    logits = similarity_logits(z1, keys, Noise(9, weight=3.0, mode="expected"), temperature=0.2)
    torch.testing.assert_close(loss.compute_loss_from_embeddings([z1, z2, z3]), loss_of(logits))
    torch.testing.assert_close(loss.last_noise_share, noise_share(logits, COUNT, 1))


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("mode", ["sampled", "expected"])
def test_a_held_share_is_that_of_the_balanced_logits(mode):
    z1, z2, z3 = columns()
    loss = adapted(noise_count=9, noise_share=0.4, noise_mode=mode)
    noise = GaussianNoise().draw(STEP, 9, WIDTH).double()
    given = Noise(9, source=FixedNoise(noise)) if mode == "sampled" else Noise(9, mode="expected")
    logits = similarity_logits(z1, Keys(z2, HardNegatives(z3)), given)
    logits = balance_noise(logits, COUNT, 9 if mode == "sampled" else 1, 0.4)
    torch.testing.assert_close(loss.compute_loss_from_embeddings([z1, z2, z3]), loss_of(logits))
    assert float(loss.last_noise_share) == pytest.approx(0.4)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("options", [{"noise_count": 0}, {"noise_count": 0, "noise_share": 0.4}, {"noise_ratio": 0}])
def test_without_noise_it_is_infonce_and_the_share_is_zero(options):
    z1, z2, _ = columns()
    loss = adapted(**options)
    torch.testing.assert_close(loss.compute_loss_from_embeddings([z1, z2]), gs_info_nce(z1, z2))
    assert loss.last_noise_share == 0


@pytest.mark.usefixtures("form")
def test_further_negatives_stand_behind_those_of_the_batch():
    z1, z2, z3 = columns()
    queue = torch.randn(5, WIDTH, dtype=torch.float64)

    class WithQueue(GSInfoNCELoss):
        def further_negatives(self):
            return queue

    loss = WithQueue(nn.Identity(), noise_count=0)
    torch.testing.assert_close(loss.compute_loss_from_embeddings([z1, z2]), gs_info_nce(z1, z2, hard_negatives=queue))
    torch.testing.assert_close(
        loss.compute_loss_from_embeddings([z1, z2, z3]), gs_info_nce(z1, z2, hard_negatives=torch.cat([z3, queue]))
    )
    assert adapted().further_negatives() is None


@pytest.mark.usefixtures("form")
def test_own_logits_stand_in_the_place_of_the_pairs():
    z1, z2, _ = columns()
    own = torch.linspace(-1, 1, COUNT, dtype=torch.float64)
    logits = similarity_logits(z1, Keys(z2), temperature=0.3)
    logits.diagonal().copy_(own)
    torch.testing.assert_close(adapted(noise_count=0, temperature=0.3).contrast(z1, z2, None, own), loss_of(logits))


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("rank", [0, 1])
def test_each_rank_scores_its_anchors_against_the_keys_of_all(rank, monkeypatch):
    z1, z2, z3 = columns()
    half = slice(3 * rank, 3 * rank + 3)
    whole = {part.sum().item(): column for column in (z2, z3) for part in [column[half]]}
    monkeypatch.setattr(ranks.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(ranks.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(ranks.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(ranks, "all_gather_with_grad", lambda part: whole[part.sum().item()])
    loss = adapted(noise_ratio=2.0, hard_negative_log_weight=0.7)
    found = loss.compute_loss_from_embeddings([z1[half], z2[half], z3[half]])
    noise = GaussianNoise().draw(STEP, 12, WIDTH).double()
    options = {"hard_negatives": HardNegatives(z3, 0.7), "first_positive": 3 * rank}
    torch.testing.assert_close(found, gs_info_nce(z1[half], z2, noise=noise, **options))


@pytest.mark.parametrize(("started", "size"), [(False, 2), (True, 1)])
def test_a_single_rank_keeps_its_keys_and_gathers_nothing(started, size, monkeypatch):
    [keys] = columns(1)
    monkeypatch.setattr(ranks.distributed, "is_initialized", lambda: started)
    monkeypatch.setattr(ranks.distributed, "get_world_size", lambda: size)
    monkeypatch.setattr(ranks, "all_gather_with_grad", lambda keys: 1 / 0)
    assert ranks.across_ranks(keys) == (keys, 0)


class Table(nn.Module):
    """An encoder that returns what it is given."""

    def forward(self, features):
        return {"sentence_embedding": features["rows"]}


def test_a_look_at_the_loss_has_the_noise_of_its_step_and_leaves_the_count():
    z1, z2, _ = columns()
    loss = GSInfoNCELoss(Table(), noise_count=9).train()
    features = [{"rows": z1}, {"rows": z2}]
    remembered = []
    loss.remember = remembered.append
    expected = [gs_info_nce(z1, z2, noise=GaussianNoise().draw(step, 9, WIDTH).double()) for step in range(3)]
    torch.testing.assert_close(loss.loss_at(2, features), expected[2])
    assert (loss.step, loss._forwards, remembered) == (None, 0, [])
    for wanted in expected:
        torch.testing.assert_close(loss(features), wanted)
    assert remembered == [features] * 3
    with pytest.raises(KeyError):
        loss.loss_at(2, [{}])
    assert loss.step is None
    loss.step = 1
    torch.testing.assert_close(loss.loss_at(2, features), expected[2])
    assert loss.step == 1
    loss.eval()(features)
    assert (loss._forwards, len(remembered)) == (3, 3)


def test_a_new_loss_has_done_nothing_yet():
    loss = GSInfoNCELoss(nn.Identity(), settings="its settings")
    assert (loss.step, loss.progress, loss.last_noise_share, loss.state) == (None, 0.0, None, None)
    assert loss.settings == "its settings"
    plain = ContrastiveLoss(nn.Identity())
    assert (plain.noise.count, plain.temperature, plain.hard_negative_log_weight, plain.seed) == (0, 0.05, 0.0, 0)


def test_the_card_gets_the_settings_as_they_are():
    settings = {
        "noise_count": 7, "noise_ratio": 1.5, "noise_weight": 2.0, "noise_mode": "sampled", "temperature": 0.1,
    }  # fmt: skip
    assert GSInfoNCELoss(nn.Identity(), **settings).get_config_dict() == settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_weight": float("nan")}, "noise_weight must be greater than 0, not nan"),
        ({"noise_ratio": -0.5}, "must not be negative"),
        ({"noise_ratio": -0.5, "noise_count": 0}, "must not be negative"),
        ({"noise_share": 0.0}, "noise_share must lie between 0 and 1"),
        ({"noise_share": 0.5, "noise_weight": 2.0}, "noise_share must lie between 0 and 1"),
    ],
)
def test_arguments_just_out_of_range_are_refused(arguments, message):
    with pytest.raises(SmoothCSEError, match=message):
        GSInfoNCELoss(nn.Identity(), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"noise_weight": 0.5}, {"temperature": 0.01}, {"noise_std": 0.1}, {"noise_count": 0}, {"noise_ratio": 0.0},
     {"noise_share": 0.99}, {"noise_mode": "expected"}, {"noise_mode": "sampled", "noise_mean": 1.0}],
)  # fmt: skip
def test_arguments_just_in_range_are_taken(arguments):
    GSInfoNCELoss(nn.Identity(), **arguments)


def test_a_cached_loss_takes_a_token_at_least_and_1024_by_default():
    loss = CachedGSInfoNCELoss(nn.Identity(), noise_count=3)
    assert (loss.mini_batch_num_tokens, loss.mini_batch_size, loss.noise.count) == (1024, 1, 3)
    assert CachedGSInfoNCELoss(nn.Identity(), mini_batch_tokens=1).mini_batch_num_tokens == 1
    cached = with_gradient_caching(GSInfoNCELoss)
    assert cached.__name__ == "CachedGSInfoNCELoss"
    assert issubclass(cached, GSInfoNCELoss)


def test_rows_of_one_length_keep_their_order_when_sorted():
    """The order decides the pieces, so it must be the same in both passes and on every machine."""
    lengths = [3, 1, 2] * 20
    mask = (torch.arange(3) < torch.tensor(lengths).unsqueeze(1)).long()
    column = {"attention_mask": mask, "input_ids": torch.arange(60).unsqueeze(1).expand(60, 3)}
    order = _order_of_length([column])
    wanted = sorted(range(60), key=lambda row: (lengths[row], row))
    assert order.tolist() == wanted
    assert _sorted([column, column], order)[1]["input_ids"][:, 0].tolist() == wanted
    assert _sorted([column], order)[0]["input_ids"][:, 0].tolist() == [row for row in wanted for _ in range(2)]
