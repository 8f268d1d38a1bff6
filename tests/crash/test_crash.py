"""The short form of the crash test; the long one is ``python tests/crash/crash.py --kills 100``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from crash import INTRUDER, OLDER, crash, older_source


@pytest.mark.parametrize(
    ("kind", "kills"), [("plain", 3), ("gradient caching", 1), ("two workers", 1), ("two ranks", 1), (INTRUDER, 1)]
)
def test_a_run_killed_at_random_ends_as_one_left_alone(kind, kills, tmp_path):
    """Of the methods, `tests/methods/test_methods.py` cuts and resumes each."""
    report = crash(tmp_path, kind, kills, steps=6)
    assert report.kills == kills
    assert report.identical == report.runs >= 1


def test_a_run_of_the_revision_before_goes_on_exactly_or_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("SMOOTHCSE_ASSUME_BF16")  # which that revision does not read
    try:
        older_source(tmp_path)
    except LookupError as reason:
        pytest.skip(str(reason))
    report = crash(tmp_path, OLDER, 1, steps=30)
    assert report.identical == report.runs
