"""Short version of fuzzing: each reader on mutations of its seeds, the same in each run."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import targets

INPUTS = 40
"""Inputs per reader; the long version is ``python tests/fuzz/fuzz.py``."""

_TOKENS = (b"\0", b"\n", b"\r", b'"', b"\t", b",", b"{", b"[" * 2000, b"9" * 5000, b"-", b"\xff\xfe", b"\xed\xa0\x80")
_TOKENS += (b"\\ud800", b"null", b"NaN", b"1e999", b"../", b"&a [*a]", b"!!python/object/apply:os.system [a]", b"====")
_SETTINGS = settings(
    max_examples=INPUTS, derandomize=True, database=None, deadline=10_000, suppress_health_check=list(HealthCheck)
)


@st.composite
def mutations(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Draw a seed and cut, repeat, overwrite or insert bytes."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 5))):
        place, length = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        new = draw(st.one_of(st.binary(max_size=6), st.sampled_from(_TOKENS)))
        data = draw(st.sampled_from([data[:place] + new + data[place + length :], data[:place], data + data[place:]]))
    return data


@pytest.mark.parametrize("name", list(targets()))
def test_any_input_is_read_or_refused_with_a_one_line_message(name):
    target = targets()[name]
    with suppress(Exception):  # a finding here is one below, too
        target.read(target.seeds[0])  # creates the target, whose time must not count for an input

    @_SETTINGS
    @given(mutations(target.seeds))
    def holds(data: bytes) -> None:
        target.read(data)

    holds()


@pytest.mark.parametrize("name", list(targets()))
def test_a_reader_accepts_at_least_one_of_its_seeds(name, monkeypatch):
    """A target that refuses all its seeds would test only one line of its reader."""
    read = targets()[name].read.__closure__[0].cell_contents  # the function that ``refusing`` wraps
    refused = 0
    for seed in targets()[name].seeds:
        try:
            read(seed)
        except Exception:
            refused += 1
    assert refused < len(targets()[name].seeds)
