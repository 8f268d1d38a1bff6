"""Warnings of a run, printed once and recorded in ``run.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Console
from rich.markup import escape


class Warnings:
    """Warnings of a run.

    Args:
        console: Console to print on.
        record: Called with all messages after each new one.

    Attributes:
        messages: Warnings in order, those before an interruption included.
    """

    def __init__(self, console: Console, record: Callable[[list[str]], None] | None = None) -> None:
        self.console = console
        self.messages: list[str] = []
        self._record = record
        self._printed: list[str] = []

    def warn(self, sentence: str, *, start: str | None = None) -> None:
        """Print and record a warning, unless there was one that starts in the same way.

        A resumed run prints a warning again, but records it once.

        Args:
            sentence: Text of the warning.
            start: Start of the sentence, up to the figures that change. None if the text is always the same.
        """
        start = start or sentence
        if not _any_starts(self._printed, start):
            self._printed.append(sentence)
            self.console.print(f"[yellow]Warning:[/yellow] {escape(sentence)}", highlight=False)
        if not _any_starts(self.messages, start):
            self.messages.append(sentence)
            if self._record:
                self._record(self.messages)


def _any_starts(sentences: Iterable[str], start: str) -> bool:
    return any(sentence.startswith(start) for sentence in sentences)
