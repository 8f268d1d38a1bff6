"""Short version of the crash test; the long version is ``python tests/crash/crash.py --kills 100``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from crash import INTRUDER, OLDER, crash, older_source


@pytest.mark.parametrize(
    ("kind", "kills"), [("plain", 3), ("gradient caching", 1), ("two workers", 1), ("two ranks", 1), (INTRUDER, 1)]
)
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(kind, kills, tmp_path):
    """`tests/methods/test_methods.py` interrupts and resumes each method."""
    report = crash(tmp_path, kind, kills, steps=6)
    assert report.kills == kills
    assert report.identical == report.runs >= 1


def test_a_run_of_an_older_revision_resumes_exactly_or_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("SMOOTHCSE_ASSUME_BF16")  # the older revision does not read it
    try:
        older_source(tmp_path)
    except LookupError as reason:
        pytest.skip(str(reason))
    report = crash(tmp_path, OLDER, 1, steps=30)
    assert report.identical == report.runs
