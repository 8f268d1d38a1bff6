"""Groups of rows are the cheapest that there are."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smoothcse.fastpath.length_groups import group_sizes


def cost(lengths, sizes, overhead):
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return sum(size * lengths[end - 1] + overhead for size, end in zip(sizes, ends, strict=True))


def fits(lengths, sizes, most):
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return all(size == 1 or size * lengths[end - 1] <= most for size, end in zip(sizes, ends, strict=True))


def every_cut(count):
    for groups in range(1, count + 1):
        for cuts in combinations(range(1, count), groups - 1):
            bounds = [0, *cuts, count]
            yield [b - a for a, b in pairwise(bounds)]


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9).map(sorted),
    most=st.integers(1, 200),
    overhead=st.integers(0, 60),
)
def test_no_other_cut_is_cheaper(lengths, most, overhead):
    sizes = group_sizes(lengths, most, overhead)
    assert sum(sizes) == len(lengths)
    assert fits(lengths, sizes, most)
    others = (cut for cut in every_cut(len(lengths)) if fits(lengths, cut, most))
    assert cost(lengths, sizes, overhead) == min(cost(lengths, cut, overhead) for cut in others)


@pytest.mark.parametrize(
    ("overhead", "sizes"),
    [(0, [1, 2, 3]), (5, [3, 3]), (1000, [6])],
)
def test_the_overhead_decides_between_padding_and_groups(overhead, sizes):
    assert group_sizes([5, 6, 6, 30, 30, 30], 10_000, overhead) == sizes
