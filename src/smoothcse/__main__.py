"""``python -m smoothcse``."""

from __future__ import annotations

from smoothcse.cli import main

main()
