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
        self._subjects: set[str] = set()

    def warn(self, sentence: str, *, about: str | None = None) -> None:
        """Show a warning, unless there was one about the same subject.

        Args:
            sentence: The warning.
            about: Subject of a warning that contains figures of the moment, such as ``collapse``; not shown. None if
                the sentence is always the same.
        """
        subject = about or sentence
        if subject not in self._subjects:
            self._subjects.add(subject)
            self.said.append(sentence)
            self.console.print(f"[yellow]Warning:[/yellow] {escape(sentence)}", highlight=False)
