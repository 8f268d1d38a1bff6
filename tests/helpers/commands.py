"""Commands of ``smoothcse`` in the process of the tests, where everything is imported already."""

from __future__ import annotations

import sys

import pytest

from smoothcse.cli import main


def run_here(*arguments: object) -> int:
    """Run a command and return its exit code. A process of its own would import for seconds first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["smoothcse", *map(str, arguments)])
        try:
            main()
        except SystemExit as leaving:
            return int(leaving.code or 0)
    return 0
