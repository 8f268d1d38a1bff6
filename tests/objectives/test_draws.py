"""The draws are those of loops over Python's integers: runs of this version and of the next draw the same."""

from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse.objectives import GaussianNoise
from smoothcse.objectives.conpvp import draw_templates
from smoothcse.objectives.draws import row_keys, uniforms
from smoothcse.objectives.esimcse import repeat_subwords
from smoothcse.objectives.masked_lm import IGNORE_INDEX, mask_tokens
from smoothcse.objectives.noise import BLOCK_ROWS

GOLDEN = 0x9E3779B97F4A7C15


def mixed(value: int) -> int:
    """SplitMix64's finaliser."""
    value %= 2**64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def uniform(key: int, number: int) -> float:
    return (mixed(key + GOLDEN * (number + 1)) >> 11) / 2**53


def key_of(tokens: list[int], seed: int, step: int) -> int:
    row = sum(mixed(token * GOLDEN + place) for place, token in enumerate(tokens, start=1))
    return mixed(row + mixed(seed + GOLDEN) + mixed(mixed(step - GOLDEN)))


def unsigned(keys: torch.Tensor) -> list[int]:
    return [key % 2**64 for key in keys.tolist()]


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, padded on the left with an id that must not matter."""
    width = max(map(len, rows)) + 1
    ids = torch.tensor([[77] * (width - len(row)) + row for row in rows])
    return ids, torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])


rows = st.lists(st.lists(st.integers(5, 40_000), min_size=1, max_size=12), min_size=1, max_size=4)
seeds, steps = st.integers(0, 2**31), st.integers(0, 10**6)


@settings(deadline=None, max_examples=50)
@given(rows, seeds, steps)
def test_keys_and_uniforms_are_splitmix64(texts, seed, step):
    ids, mask = padded(texts)
    keys = row_keys(ids, mask, seed, step)
    wanted = [key_of(text, seed, step) for text in texts]
    assert unsigned(keys) == wanted
    found = uniforms(keys.unsqueeze(1), torch.arange(5))
    assert found.dtype == torch.float64
    assert found.tolist() == [[uniform(key, number) for number in range(5)] for key in wanted]
    assert uniforms(keys, 3).tolist() == [uniform(key, 3) for key in wanted]


@settings(deadline=None, max_examples=50)
@given(rows, seeds, steps, st.floats(0, 1))
def test_masked_tokens_are_those_of_a_loop(texts, seed, step, probability):
    ids, mask = padded(texts)
    words = mask.bool() & (ids % 7 != 0)
    vocabulary = torch.arange(100, 150)
    masked, targets = mask_tokens(
        ids, mask, words, probability=probability, mask_id=4, vocabulary=vocabulary, seed=seed, step=step
    )
    for row, text in enumerate(texts):
        key = key_of(text, seed, step)
        for place, token in enumerate(ids[row].tolist()):
            wanted, target = token, IGNORE_INDEX
            if words[row, place] and uniform(key, 3 * place) < probability:
                kind, other = uniform(key, 3 * place + 1), int(uniform(key, 3 * place + 2) * 50)
                wanted, target = (4 if kind < 0.8 else 100 + other if kind < 0.9 else token), token
            assert (masked[row, place], targets[row, place]) == (wanted, target)


def test_a_token_is_masked_below_its_probability_and_not_at_it():
    ids, mask = padded([[9, 8, 7]])
    chance = uniform(key_of([9, 8, 7], 0, 0), 3 * 2)  # of the token in the third place
    words = torch.zeros_like(mask).bool()
    words[0, 2] = True
    for probability, expected in ((chance, IGNORE_INDEX), (chance + 1e-12, 8)):
        _, targets = mask_tokens(
            ids, mask, words, probability=probability, mask_id=4, vocabulary=torch.arange(5, 9), seed=0, step=0
        )
        assert targets[0, 2] == expected


@settings(deadline=None, max_examples=50)
@given(rows, seeds, steps, st.floats(0, 1), st.integers(0, 12), st.booleans())
def test_doubled_words_are_those_of_a_loop(texts, seed, step, rate, room, on_the_right):
    """The words with the smallest numbers are doubled, where they stand; the padding, of any id, becomes that of 0."""
    ids, mask = padded(texts)
    if on_the_right:
        ids, mask = (
            torch.stack([row.roll(len(text)) for row, text in zip(tensor, texts, strict=True)])
            for tensor in (ids, mask)
        )
    width = ids.shape[1]
    longest = width - 1 + room
    words = mask.bool() & (ids % 7 != 0)
    repeated, present = repeat_subwords(ids, mask, words, rate=rate, seed=seed, step=step, longest=longest)
    assert repeated.shape == present.shape == (len(texts), min(longest, width + 9))
    assert present.dtype == mask.dtype
    for row, text in enumerate(texts):
        key = key_of(text, seed, step)
        places = words[row].nonzero().flatten().tolist()
        count = int(uniform(key, 0) * min(10, int(torch.tensor(len(places)) * rate)))
        chosen = sorted(places, key=lambda place: uniform(key, place + 1))[: min(count, longest - len(text))]
        kept = mask[row].nonzero().flatten().tolist()
        wanted = [int(ids[row, place]) for place in kept for _ in range(2 if place in chosen else 1)]
        rest = repeated.shape[1] - len(wanted)
        assert repeated[row].tolist() == wanted + [0] * rest
        assert present[row].tolist() == [1] * len(wanted) + [0] * rest


@settings(deadline=None, max_examples=20)
@given(rows, seeds, steps)
def test_templates_are_drawn_by_the_kinds_own_number(texts, seed, step):
    found = draw_templates(*padded(texts), (9, 8, 3), seed=seed, step=step)
    for kind, count in enumerate((9, 8, 3)):
        assert found[kind].tolist() == [int(uniform(key_of(text, seed, step), kind) * count) for text in texts]


def generator(name: str) -> torch.Generator:
    digest = hashlib.blake2b(name.encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


def test_noise_is_drawn_block_by_block_from_the_hash_of_seed_step_and_block():
    noise = GaussianNoise(seed=7, mean=0.5, std=2.0)
    first = torch.randn(BLOCK_ROWS, 3, generator=generator("7:2"))
    second = torch.randn(5, 3, generator=generator("7:2:1"))
    assert torch.equal(noise.draw(2, BLOCK_ROWS + 5, 3), torch.cat([first, second]) * 2.0 + 0.5)
    assert torch.equal(GaussianNoise().draw(0, 4, 3), torch.randn(4, 3, generator=generator("0:0")))
    assert noise.draw(2, 0, 3).shape == (0, 3)


def test_noise_is_drawn_on_the_device_asked_for():
    """A device without random numbers of its own says so, where another would have been taken in silence."""
    with pytest.raises(RuntimeError, match="META"):
        GaussianNoise().draw(0, 2, 3, device="meta")
