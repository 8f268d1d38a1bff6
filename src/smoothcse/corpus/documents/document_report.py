"""Report on loaded documents: how many were read and skipped, and how many of their passages were kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class DocumentReport:
    """Numbers of documents read and skipped, and of passages read, dropped and kept.

    Attributes:
        source: Source as the user named it.
        documents: Documents found: files, or rows of tables.
        skipped: Documents skipped by reason: ``no text``, ``password-protected``, ``unreadable``, ``too large``,
            or tables with ``no text column``.
        untitled: Documents read that have no title.
        read: Passages of the documents read.
        kept: Passages kept, ``read - sum(dropped.values())``.
        dropped: Passages dropped by reason: ``no letters``, ``too short``, ``duplicate``, ``near-duplicate``.
        fingerprint: 32 hex digits that depend only on the text of the kept passages and its order.
        notes: Further remarks, such as the names of skipped documents.
    """

    source: str
    documents: int
    skipped: Mapping[str, int]
    untitled: int
    read: int
    kept: int
    dropped: Mapping[str, int]
    fingerprint: str
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        plain = {"skipped": dict(self.skipped), "dropped": dict(self.dropped), "notes": list(self.notes)}
        return {**asdict(self), **plain}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DocumentReport:
        """Restore a report from the result of :meth:`as_dict`."""
        return cls(**{**values, "notes": tuple(values["notes"])})

    def table(self) -> Table:
        """Return the report as a table for rich."""
        from rich.table import Table
        from rich.text import Text

        # Brackets in names and notes are not markup.
        table = Table(title=Text(f"Documents {self.source}"), caption=Text("\n".join(self.notes)))
        table.add_column("")
        table.add_column("count", justify="right")
        table.add_row("documents", f"{self.documents:,}")
        for reason, count in self.skipped.items():
            table.add_row(f"skipped: {reason}", f"{count:,}")
        table.add_row("without a title", f"{self.untitled:,}", end_section=True)
        table.add_row("passages", f"{self.read:,}")
        for reason, count in self.dropped.items():
            if count:
                table.add_row(f"dropped: {reason}", f"{count:,}")
        table.add_row("kept", f"{self.kept:,}", style="bold")
        table.add_row("fingerprint", self.fingerprint[:12], style="dim")
        return table
