"""Short version of ``python tests/stateful/run_folder.py --examples 200``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from run_folder import check


def test_any_order_of_commands_leaves_the_expected_folder(tmp_path):
    check(tmp_path, examples=3, steps=6, derandomize=True)
