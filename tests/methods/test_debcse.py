"""DebCSE (our reading of its abstract) against loops: weights, draws, neighbours, and what is never drawn."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional

from smoothcse.corpus import load_sentences
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.inference import encode
from smoothcse.methods.debcse import METHOD, add_pairs
from smoothcse.objectives.debcse import draw, negative_log_weights, positive_log_weights
from smoothcse.views.drawn_pairs import DebCSESettings, draw_in_block, draw_pairs, shared_words, word_sets
from tiny import sentences

QUIET = Console(quiet=True)
SHAPE = {"midpoint": 0.5, "scale": 0.1, "clip": 0.05}


def loop_weight(meaning, surface, *, midpoint, scale, clip, positive):
    """Return w⁺ or w⁻ of one pair as the equation has it, before floor and cap."""
    propensity = min(max(surface, clip), 1 - clip)
    chance = 1 / (1 + math.exp(-(meaning - midpoint) / scale))
    return chance / propensity if positive else (1 - chance) / (1 - propensity)


def random_scores(count=6, candidates=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    meaning = torch.rand(count, candidates, generator=generator, dtype=torch.float64) * 2 - 1
    return meaning, torch.rand(count, candidates, generator=generator, dtype=torch.float64)


def test_the_weights_are_the_equation_and_their_gradient():
    meaning, surface = random_scores()
    meaning[:, 0] = surface[:, 0] = 1.0  # the sentence itself
    cap = torch.full((6,), 0.3, dtype=torch.float64)
    for positive in (True, False):

        def log_weights(meaning, positive=positive):
            if positive:
                return positive_log_weights(meaning, surface, floor=0.2, **SHAPE)
            return negative_log_weights(meaning, surface, cap=cap, **SHAPE)

        leaf = meaning.clone().requires_grad_()
        found = log_weights(leaf)
        [gradient] = torch.autograd.grad(found[found.isfinite()].sum(), leaf)
        for i in range(6):
            for j in range(9):
                score = float(meaning[i, j])
                if score < 0.2 if positive else score >= 0.3:
                    assert found[i, j] == -torch.inf
                    assert gradient[i, j] == 0
                    continue
                weight = loop_weight(score, float(surface[i, j]), positive=positive, **SHAPE)
                assert found[i, j].exp().item() == pytest.approx(weight, rel=1e-10)
                chance = 1 / (1 + math.exp(-(score - 0.5) / 0.1))
                slope = (1 - chance) / 0.1 if positive else -chance / 0.1
                assert gradient[i, j].item() == pytest.approx(slope, rel=1e-10)


def test_weights_rise_and_fall_as_the_abstract_wants_it():
    meaning, surface = torch.tensor([[0.3, 0.5, 0.3]]), torch.tensor([[0.2, 0.2, 0.6]])
    low, like, alike = positive_log_weights(meaning, surface, floor=0.0, **SHAPE)[0].tolist()
    assert like > low > alike
    low, like, alike = negative_log_weights(meaning, surface, cap=torch.ones(1), **SHAPE)[0].tolist()
    assert alike > low > like


def test_where_all_reach_the_cap_the_least_similar_is_let_through():
    meaning, surface = torch.tensor([[0.9, 0.7, 0.8]]), torch.rand(1, 3)
    weights = negative_log_weights(meaning, surface, cap=torch.tensor([0.5]), **SHAPE)
    assert weights.isfinite().tolist() == [[False, True, False]]


def test_each_row_has_its_own_least_similar_candidate():
    meaning, surface = torch.tensor([[0.9, 0.7, 0.8], [0.6, 0.95, 0.9]]), torch.rand(2, 3)
    weights = negative_log_weights(meaning, surface, cap=torch.full((2,), 0.5), **SHAPE)
    assert weights.isfinite().tolist() == [[False, True, False], [True, False, False]]


def test_a_candidate_at_the_floor_is_a_positive_and_one_at_the_cap_no_negative():
    meaning, surface = torch.tensor([[0.25, 0.5, 0.75]]), torch.rand(1, 3)
    positive = positive_log_weights(meaning, surface, floor=0.5, **SHAPE)
    assert positive.isfinite().tolist() == [[False, True, True]]
    negative = negative_log_weights(meaning, surface, cap=torch.tensor([0.5]), **SHAPE)
    assert negative.isfinite().tolist() == [[True, False, False]]


def test_the_least_number_draws_no_candidate_without_weight():
    weights = torch.tensor([[-torch.inf, 0.0, 0.0]])
    assert draw(weights, torch.zeros(1, dtype=torch.float64)).tolist() == [1]
    assert draw(weights, torch.tensor([0.5], dtype=torch.float64)).tolist() == [2]


def test_draws_follow_the_weights():
    weights = torch.tensor([0.5, 0.0, 3.0, 1.0, 0.25, 0.0], dtype=torch.float64)
    count = 20_000
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    uniform[0] = 0.0
    drawn = draw(weights.log().expand(count, -1), uniform).bincount(minlength=6)
    expected = weights / weights.sum() * count
    assert drawn[weights == 0].sum() == 0
    some = weights > 0
    chi_square = ((drawn - expected)[some] ** 2 / expected[some]).sum().item()
    assert chi_square < 16.3  # three degrees of freedom: one in a thousand is beyond


def loop_words(text):
    return set(re.findall(r"\w+", text.lower()))


def test_surface_similarity_is_that_of_word_sets():
    texts = ["A cat sat.", "a CAT sat, a cat!", "Dogs ran", "", "...", "the cat ran"]
    words = word_sets(texts)
    found = shared_words(words[1:4], words)
    for row, some in enumerate(texts[1:4]):
        for column, other in enumerate(texts):
            either = loop_words(some) | loop_words(other)
            wanted = len(loop_words(some) & loop_words(other)) / len(either) if either else 0.0
            assert found[row, column].item() == pytest.approx(wanted, abs=1e-7)


SETTINGS = DebCSESettings(candidates=5, midpoint=0.2, scale=0.1, floor=0.1, cap=0.4)


def corpus_of(tmp_path, count):
    file = tmp_path / "many.txt"
    file.write_text("\n".join(sentences(count)) + "\n", encoding="utf-8")
    return load_sentences(file).dataset


def loop_candidates(embeddings, texts, settings):
    """Return S, U and each row's candidates for a positive and a negative, found by sorting all."""
    embeddings = embeddings.double()
    mean = embeddings.mean(dim=0)
    count = len(texts)
    meaning, surface = np.ones((count, count)), np.ones((count, count))
    for i in range(count):
        for j in range(count):
            if i != j:
                meaning[i, j] = torch.cosine_similarity(embeddings[i] - mean, embeddings[j] - mean, dim=0)
                one, other = loop_words(texts[i]), loop_words(texts[j])
                surface[i, j] = len(one & other) / len(one | other)
    near, alike = [], []
    for i in range(count):
        others = [j for j in range(count) if j != i]
        near.append([i, *sorted(others, key=lambda j, i=i: -meaning[i, j])[: settings.candidates]])
        least = sorted((surface[i, j] for j in others), reverse=True)[settings.candidates - 1]
        alike.append([j for j in others if surface[i, j] >= least])
    return meaning, surface, near, alike


def test_pairs_are_drawn_from_the_nearest_with_the_weights_of_the_equation(monkeypatch):
    texts = sentences(40, seed=5)
    embeddings = torch.randn(40, 8, generator=torch.Generator().manual_seed(1)) + 3.0
    meaning, surface, near, alike = loop_candidates(embeddings, texts, SETTINGS)
    words = word_sets(texts)
    drawn = torch.stack([draw_in_block(embeddings, words, np.arange(40), SETTINGS, seed) for seed in range(400)])
    shape = {"midpoint": 0.2, "scale": 0.1, "clip": 0.05}
    chi_square = degrees = 0.0
    for i in range(40):
        allowed = [j for j in near[i] if meaning[i, j] >= 0.1]
        weights = {j: loop_weight(meaning[i, j], surface[i, j], positive=True, **shape) for j in allowed}
        counts = drawn[:, 0, i].bincount(minlength=40)
        assert counts.sum() == sum(counts[j] for j in weights)
        for j, weight in weights.items():
            expected = 400 * weight / sum(weights.values())
            chi_square += (counts[j].item() - expected) ** 2 / max(expected, 1e-9) if expected >= 1 else 0.0
            degrees += expected >= 1
        for positive, negative in drawn[:, :, i].tolist():
            assert negative in alike[i]
            limit = min(0.4, meaning[i, positive])
            reachable = [meaning[i, j] for j in alike[i]]
            assert meaning[i, negative] < limit + 1e-6 or min(reachable) >= limit - 1e-6
    assert abs(chi_square - degrees) < 5 * math.sqrt(2 * degrees)

    # The size of the pieces in which similarities are computed changes nothing.
    monkeypatch.setattr("smoothcse.views.drawn_pairs._SIMILARITIES_AT_A_TIME", 40 * 7)
    assert torch.equal(draw_in_block(embeddings, words, np.arange(40), SETTINGS, 3), drawn[3])


def test_each_block_is_drawn_from_alone_and_the_seed_decides(tiny_bert, tmp_path):
    dataset, encoder = corpus_of(tmp_path, 50), build_encoder(tiny_bert, device="cpu")
    settings = DebCSESettings(candidates=4, block_size=20, floor=-1.0, midpoint=0.0)
    first, again, other = (draw_pairs(dataset, encoder, settings, seed, QUIET) for seed in (1, 1, 2))
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    block_of = np.empty(50, int)
    for number, rows in enumerate(np.array_split(np.random.default_rng(1).permutation(50), 3)):
        block_of[rows] = number
    for drawn in first:
        assert (block_of[drawn] == block_of).all()
    assert (first[1] != np.arange(50)).all()


def test_the_texts_are_those_drawn_in_the_order_of_the_sentences(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr("smoothcse.methods.debcse._AT_A_TIME", 7)
    dataset, encoder = corpus_of(tmp_path, 30), build_encoder(tiny_bert, device="cpu")
    made = add_pairs(dataset, encoder, SETTINGS, 3, QUIET)
    drawn = draw_pairs(dataset, encoder, SETTINGS, 3, QUIET)
    texts = dataset["sentence"][:]
    columns = [[text for batch in batches for text in batch] for batches in zip(*made.batches, strict=True)]
    assert made.columns == ("positive", "negative")
    assert columns == [[texts[row] for row in rows] for rows in drawn]
    assert "own positives" in made.note


def loop_loss(z, positives, negatives, temperature=0.05):
    total = 0.0
    for i, anchor in enumerate(z):

        def s(key, anchor=anchor):
            return torch.cosine_similarity(anchor, key, dim=0) / temperature

        denominator = sum(torch.exp(s(key)) for key in [*positives, *negatives])
        total = total - torch.log(torch.exp(s(positives[i])) / denominator)
    return total / len(z)


def test_the_loss_is_the_equation_and_its_gradient(tiny_bert):
    loss = METHOD.loss(build_encoder(tiny_bert, device="cpu"), settings=DebCSESettings())
    generator = torch.Generator().manual_seed(2)
    columns = [torch.randn(5, 32, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(3)]
    value, wanted = loss.compute_loss_from_embeddings(columns), loop_loss(*columns)
    assert value.item() == pytest.approx(wanted.item(), rel=1e-10)
    for found, expected in zip(torch.autograd.grad(value, columns), torch.autograd.grad(wanted, columns), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_positives_of_a_real_encoder_are_nearer_than_chance_and_negatives_are_no_paraphrases(minilm, shared, tmp_path):
    lines = (shared / "data" / "corpus" / "captions.txt").read_text(encoding="utf-8").splitlines()[:300]
    file = tmp_path / "captions.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    dataset, encoder = load_sentences(file).dataset, build_encoder(minilm, device="cpu")
    positives, negatives = draw_pairs(dataset, encoder, DebCSESettings(), 0, QUIET)
    texts = dataset["sentence"][:]
    embeddings = torch.from_numpy(encode(encoder, texts))
    unit = functional.normalize(embeddings - embeddings.mean(dim=0), dim=1)
    other = torch.from_numpy(positives != np.arange(len(texts)))
    meaning = [(unit * unit[drawn]).sum(dim=1) for drawn in (positives, negatives)]
    words = word_sets(texts)
    surface = shared_words(words, words)
    rows = torch.arange(len(texts))
    assert other.float().mean() > 0.02
    assert meaning[0][other].min() >= DebCSESettings().floor - 1e-4
    assert meaning[1].max() < DebCSESettings().cap + 1e-4
    assert surface[rows, negatives].mean() > 1.4 * surface[rows, torch.roll(rows, 1)].mean()
