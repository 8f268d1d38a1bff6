"""The short form of the crash test; the long one is ``python tests/crash/crash.py --kills 100``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from crash import crash


def test_a_run_killed_at_random_ends_as_one_left_alone(tmp_path):
    report = crash(tmp_path, kills=4, steps=60)
    assert report.kills >= 1
    assert report.identical
