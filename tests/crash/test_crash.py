"""The short form of the crash test; the long one is ``python tests/crash/crash.py --kills 100``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from crash import crash


@pytest.mark.parametrize(
    ("kind", "kills"), [("plain", 3), ("gradient caching", 1), ("two workers", 1), ("two ranks", 1)]
)
def test_a_run_killed_at_random_ends_as_one_left_alone(kind, kills, tmp_path):
    """Of the methods, `tests/test_methods.py` cuts and resumes each."""
    report = crash(tmp_path, kind, kills, steps=6)
    assert report.kills == kills
    assert report.identical == report.runs >= 1
