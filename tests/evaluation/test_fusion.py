from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.fusion import COSINE_WEIGHT, WEIGHTS, choose_weight, fuse, scale_rows
from smoothcse.evaluation.ranking import rank

SCORES = st.integers(-20, 20).map(float)


@st.composite
def pairs(draw):
    shape = draw(st.tuples(st.integers(1, 5), st.integers(1, 8)))
    return tuple(draw(arrays(np.float64, shape, elements=SCORES)) for _ in range(2))


def naive_fuse(cosines, bm25, weight):
    def scaled(row):
        low, high = min(row), max(row)
        return [(value - low) / (high - low) if high > low else 0.0 for value in row]

    return [
        [weight * c + (1 - weight) * b for c, b in zip(scaled(one), scaled(other), strict=True)]
        for one, other in zip(cosines.tolist(), bm25.tolist(), strict=True)
    ]


@given(pairs(), st.floats(0, 1))
def test_fusion_is_the_loop(scores, weight):
    np.testing.assert_allclose(fuse(*scores, weight), naive_fuse(*scores, weight), atol=1e-12)


@given(pairs(), st.floats(0.01, 100), st.floats(-100, 100))
def test_fusion_ignores_scale_and_offset_of_a_query(scores, scale, offset):
    cosines, bm25 = scores
    np.testing.assert_allclose(fuse(scale * cosines + offset, bm25), fuse(cosines, bm25), atol=1e-9)
    np.testing.assert_allclose(fuse(cosines, scale * bm25 + offset), fuse(cosines, bm25), atol=1e-9)


def test_fusion_by_hand():
    fused = fuse(np.array([[0.2, 0.4, 0.6]]), np.array([[8.0, 0.0, 2.0]]), 0.7)
    np.testing.assert_allclose(fused, [[0.3, 0.35, 0.7 + 0.3 / 4]])


def test_a_collapsed_encoder_leaves_bm25_alone():
    cosines = 1 - 1e-8 * np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(fuse(cosines, np.array([[0.0, 1.0, 2.0]]), 0.7), [[0.0, 0.15, 0.3]])
    assert scale_rows(cosines).tolist() == [[0.0, 0.0, 0.0]]


def test_an_encoder_that_diverged_ranks_last():
    fused = fuse(np.array([[np.nan, 0.1, 0.2]]), np.array([[9.0, 0.0, 0.0]]))
    assert np.isnan(fused).all()
    assert rank([fused], np.array([0])).ranks.tolist() == [3]


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_outside_0_to_1_is_refused(weight):
    with pytest.raises(SmoothCSEError, match="from 0"):
        fuse(np.ones((1, 2)), np.ones((1, 2)), weight)


@given(pairs(), st.data())
def test_the_chosen_weight_has_the_highest_mrr(scores, data):
    cosines, bm25 = scores
    q, d = cosines.shape
    relevant = np.array([data.draw(st.integers(0, d - 1)) for _ in range(q)])
    half = (q + 1) // 2
    blocks = [(cosines[rows], bm25[rows]) for rows in (slice(0, half), slice(half, q)) if len(cosines[rows])]
    best, found = choose_weight(blocks, relevant)
    expected = {w: rank([fuse(cosines, bm25, w)], relevant).metrics()["MRR"] for w in WEIGHTS}
    assert found == pytest.approx(expected)
    assert found[best] == pytest.approx(max(expected.values()))


def test_of_equally_good_weights_the_one_nearest_to_the_default_is_chosen():
    perfect = np.eye(3)
    best, found = choose_weight([(perfect, perfect)], np.arange(3))
    assert best == COSINE_WEIGHT
    assert set(found.values()) == {100.0}
