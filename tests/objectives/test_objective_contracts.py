"""What every objective promises: its published defaults, its precision, and tensors on the device of its inputs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from smoothcse.objectives import (
    GaussianNoise,
    HardNegatives,
    Keys,
    Noise,
    balance_noise,
    dense_contrast,
    gs_info_nce,
    info_nce,
    noise_share,
    own_positive_loss,
    similarity_logits,
    streamed_contrast,
    with_own_logits,
)
from smoothcse.objectives.arccon import angular_margin_logits
from smoothcse.objectives.esimcse import repeat_subwords
from smoothcse.objectives.geometry import alignment, effective_rank, hubness, mean_cosine, uniformity
from smoothcse.objectives.is_cse import smoothed_positives
from smoothcse.objectives.keys import as_hard_negatives
from smoothcse.objectives.masked_lm import mask_tokens
from smoothcse.objectives.noise import as_noise
from smoothcse.objectives.simcse_pp import dimension_wise_contrast, dropout_pair_logits
from smoothcse.objectives.sncse import bidirectional_margin
from smoothcse.objectives.templates import Templates, move_sentences

COUNT, WIDTH, MORE = 12, 6, 30


class Objective(NamedTuple):
    """A function of views ``(12, 6)``, what it is called with, and what its documentation says of its defaults."""

    call: Callable[..., Tensor]
    views: int
    defaults: dict[str, Any]
    more: tuple[str, ...] = ()  # arguments that take further rows


def views(number: int, dtype: torch.dtype = torch.float64, device: str = "cpu") -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(number, COUNT, WIDTH, dtype=torch.float64, generator=generator)
    return [view.to(device, dtype) for view in rows]


def more(dtype: torch.dtype = torch.float64, device: str = "cpu") -> Tensor:
    rows = torch.randn(MORE, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(rows, dim=1).to(device, dtype)


def logits_of(
    anchors: Tensor,
    positives: Tensor,
    *,
    hard_negatives: HardNegatives | Tensor | None = None,
    noise: Tensor | None = None,
    first_positive: int = 0,
    **options: Any,
) -> Tensor:
    keys = Keys(positives, as_hard_negatives(hard_negatives), first_positive=first_positive)
    return similarity_logits(anchors, keys, as_noise(noise), **options)


def dense_loss(anchors: Tensor, positives: Tensor, *, hard_negatives: Tensor, noise: Tensor, **options: Any) -> Tensor:
    return dense_contrast(anchors, Keys(positives, HardNegatives(hard_negatives)), as_noise(noise), **options).loss


def streamed_loss(anchors: Tensor, positives: Tensor, *, hard_negatives: Tensor, **options: Any) -> Tensor:
    keys = Keys(positives, HardNegatives(hard_negatives))
    return streamed_contrast(anchors, keys, Noise(20, source=GaussianNoise(3)), **options).loss


CONTRAST = {"temperature": 0.05, "first_positive": 0}
SMOOTHED = {**CONTRAST, "step": 0}
ENGINE = {"temperature": 0.05, "step": 0}
OBJECTIVES = {
    "info_nce": Objective(info_nce, 2, CONTRAST, ("hard_negatives",)),
    "gs_info_nce": Objective(gs_info_nce, 2, SMOOTHED, ("hard_negatives", "noise")),
    "expected": Objective(functools.partial(gs_info_nce, noise=Noise(9, mode="expected")), 2, SMOOTHED),
    "without noise": Objective(gs_info_nce, 2, {"hard_negatives": None, "noise": None}),
    "logits": Objective(logits_of, 2, SMOOTHED, ("hard_negatives", "noise")),
    "logits without noise": Objective(logits_of, 2, {"hard_negatives": None, "noise": None}),
    "dense": Objective(dense_loss, 2, {**ENGINE, "own": None}, ("hard_negatives", "noise")),
    "streamed": Objective(streamed_loss, 2, {**ENGINE, "own": None}, ("hard_negatives",)),
    "arccon": Objective(angular_margin_logits, 2, {"margin": 10.0, "temperature": 0.05}),
    "is_cse": Objective(smoothed_positives, 1, {"neighbours": 16, "temperature": 2.0}, ("memory",)),
    "simcse_pp": Objective(dropout_pair_logits, 2, {"weight": 0.9, "temperature": 0.05}),
    "dimensions": Objective(dimension_wise_contrast, 2, {"temperature": 5.0, "epsilon": 1e-5}),
    "sncse": Objective(bidirectional_margin, 3, {"nearest": 0.1, "farthest": 0.3}),
    "alignment": Objective(alignment, 2, {"alpha": 2.0}),
    "uniformity": Objective(uniformity, 1, {"t": 2.0}),
    "mean_cosine": Objective(mean_cosine, 1, {}),
    "effective_rank": Objective(effective_rank, 1, {}),
    "hubness": Objective(hubness, 1, {"k": 10}),
}  # fmt: skip
named = pytest.mark.parametrize("name", OBJECTIVES)


def value(name: str, dtype: torch.dtype = torch.float64, device: str = "cpu", **options: Any) -> Tensor:
    objective = OBJECTIVES[name]
    further = {argument: more(dtype, device) for argument in objective.more}
    return objective.call(*views(objective.views, dtype, device), **further, **options)


@named
def test_the_defaults_are_the_documented_ones(name):
    assert torch.equal(value(name), value(name, **OBJECTIVES[name].defaults))


@named
def test_float64_stays_and_all_else_is_computed_in_float32_whatever_autocast_says(name):
    assert value(name).dtype == torch.float64
    single, half = value(name, torch.float32), value(name, torch.bfloat16)
    assert single.dtype == half.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(value(name, torch.float32), single)
        assert torch.equal(value(name, torch.bfloat16), half)
        assert torch.equal(value(name), value(name))
        assert value(name).dtype == torch.float64
    torch.testing.assert_close(single.double(), value(name), rtol=1e-4, atol=1e-5)


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device "meta", whose tensors meet no others, as those of a GPU do not. It is one that autocast lacks."""
    monkeypatch.setattr(torch, "autocast", lambda *given, **options: nullcontext())


@pytest.mark.usefixtures("meta")
@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"streamed", "hubness"}))
def test_nothing_is_made_on_another_device_than_that_of_the_inputs(name):
    found, expected = value(name, device="meta"), value(name)
    assert (found.device.type, found.shape, found.dtype) == ("meta", expected.shape, expected.dtype)


@pytest.mark.usefixtures("meta")
def test_what_is_done_with_logits_stays_on_their_device():
    logits = logits_of(*views(2, device="meta"), noise=more(device="meta"))
    own = logits.new_zeros(COUNT)
    for found in (
        own_positive_loss(logits, 0),
        noise_share(logits, COUNT, MORE),
        balance_noise(logits, COUNT, MORE, 0.3),
        with_own_logits(logits, own),
    ):
        assert found.device.type == "meta"


@pytest.mark.usefixtures("meta")
def test_what_is_done_with_token_ids_stays_on_their_device():
    ids = torch.ones(4, 7, dtype=torch.long, device="meta")
    words = ids.bool()
    masked = mask_tokens(
        ids, ids, words, probability=0.15, mask_id=4, vocabulary=torch.arange(9, device="meta"), seed=0, step=0
    )
    repeated = repeat_subwords(ids, ids, words, rate=0.3, seed=0, step=0, longest=16)
    templates = Templates([([1, 2], [3]), ([1], [2, 3])]).to("meta")
    chosen = ids.new_zeros(4)
    moved = move_sentences(ids, ids, (2, 1), templates, chosen, pad=0, longest=16)
    assert {tensor.device.type for tensor in (*masked, *repeated, *moved)} == {"meta"}


@pytest.mark.parametrize("scored", [logits_of, info_nce, gs_info_nce])
def test_the_contrast_takes_hard_negatives_their_weight_the_temperature_and_the_rank(scored):
    """Each argument that is passed on does what it does in the matrix of logits."""
    z1, z2, z3 = views(3)
    options = {"hard_negatives": HardNegatives(z3, 0.7), "temperature": 0.3, "first_positive": 2}
    z1 = z1[:5]
    cosines = torch.nn.functional.cosine_similarity(z1[:, None], torch.cat([z2, z3])[None], dim=2)
    logits = cosines / 0.3
    for i in range(5):
        logits[i, COUNT + 2 + i] += 0.7
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(2, 7))
    torch.testing.assert_close(scored(z1, z2, **options), logits if scored is logits_of else loss)


def test_own_logits_take_the_place_of_the_pairs_in_the_precision_of_all():
    logits, own = torch.zeros(3, 6, dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0])
    for options, first in (({}, 0), ({"first_positive": 2}, 2)):
        expected = torch.zeros(3, 6, dtype=torch.float64)
        expected[:, first : first + 3] = own.double().diag()
        torch.testing.assert_close(with_own_logits(logits, own, **options), expected)


def test_without_noise_the_streamed_loss_is_infonce():
    z1, z2 = views(2)
    torch.testing.assert_close(streamed_contrast(z1, Keys(z2)).loss, info_nce(z1, z2))


def test_values_have_the_documented_defaults():
    vectors = torch.ones(2, 3)
    assert Noise() == Noise(192, None, 1.0, None, "sampled", GaussianNoise(seed=0, mean=0.0, std=1.0))
    assert HardNegatives(vectors).log_weight == 0.0
    keys = Keys(vectors)
    assert (keys.hard_negatives, keys.further_negatives, keys.first_positive) == (None, None, 0)
    given = as_noise(vectors)
    assert (given.count, given.weight, given.source.draw(7, 2, 3) is vectors) == (2, 1.0, True)


def test_a_memory_of_another_precision_smooths_in_that_of_the_positives():
    [positives] = views(1, torch.float32)
    found = smoothed_positives(positives, more(torch.bfloat16))
    torch.testing.assert_close(found, smoothed_positives(positives, more(torch.bfloat16).float()))


def test_neighbours_that_bfloat16_cannot_tell_apart_are_told_apart_under_autocast():
    rows = 1 + 0.1 * torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    expected = hubness(rows.double()).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert hubness(rows).item() == pytest.approx(expected, rel=1e-5)


def test_rounding_lifts_no_uniformity_above_zero():
    for seed in range(30):
        row = torch.randn(1, 16, generator=torch.Generator().manual_seed(seed))
        assert uniformity(row.repeat(2, 1)) <= 0
