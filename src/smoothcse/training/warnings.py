"""Warnings of a run, printed once and recorded in ``run.json``."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape


class Warnings:
    """Warnings of a run.

    Args:
        console: Console to print on.

    Attributes:
        messages: Printed warnings, in order.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.messages: list[str] = []
        self._subjects: set[str] = set()

    def warn(self, sentence: str, *, about: str | None = None) -> None:
        """Print a warning, unless there was one about the same subject.

        Args:
            sentence: Text of the warning.
            about: Subject of a warning whose figures change, such as ``collapse``; not printed. None if the text is
                always the same.
        """
        subject = about or sentence
        if subject not in self._subjects:
            self._subjects.add(subject)
            self.messages.append(sentence)
            self.console.print(f"[yellow]Warning:[/yellow] {escape(sentence)}", highlight=False)
