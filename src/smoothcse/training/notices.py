"""What a run has to say besides its scores: warnings, shown once and kept in ``run.json``."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape


class Notices:
    """Collects warnings.

    Args:
        console: to show them on.

    Attributes:
        said: all of them, in order.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.said: list[str] = []

    def warn(self, sentence: str) -> None:
        """Show a warning, unless it was shown before."""
        if sentence not in self.said:
            self.said.append(sentence)
            self.console.print(f"[yellow]Warning:[/yellow] {escape(sentence)}", highlight=False)
