"""Report on a loaded corpus: how much text was read, dropped and kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class CorpusReport:
    """Numbers of sentences, pairs or triplets read, dropped and kept.

    Attributes:
        source: Source as the user named it.
        read: Lines, records or rows read.
        kept: Rows kept, ``read - sum(dropped.values())``.
        dropped: Rows dropped by reason: ``empty``, ``too short``, ``too long``, ``duplicate``, ``over the limit``.
        fingerprint: 32 hex digits that depend only on the kept text and its order. Equal training text has an equal
            fingerprint, whatever the file, compression or options.
        notes: Further remarks, such as files that were ignored.
        columns: Columns read as pairs or triplets; empty for sentences.
    """

    source: str
    read: int
    kept: int
    dropped: Mapping[str, int]
    fingerprint: str
    notes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """Unit of the counts: ``sentences``, ``pairs`` or ``triplets``."""
        return ("sentences", "sentences", "pairs", "triplets")[len(self.columns)]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        plain = {"dropped": dict(self.dropped), "notes": list(self.notes), "columns": list(self.columns)}
        return {**asdict(self), **plain}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CorpusReport:
        """Restore a report from the result of :meth:`as_dict`."""
        return cls(**{**values, "notes": tuple(values["notes"]), "columns": tuple(values.get("columns", ()))})

    def table(self) -> Table:
        """Return the report as a table for rich."""
        from rich.table import Table
        from rich.text import Text

        # Brackets in names and notes are not markup.
        table = Table(title=Text(f"Corpus {self.source}"), caption=Text("\n".join(self.notes)))
        table.add_column(self.unit)
        table.add_column("count", justify="right")
        table.add_row("read", f"{self.read:,}")
        for reason, count in self.dropped.items():
            if count:
                table.add_row(f"dropped: {reason}", f"{count:,}")
        table.add_row("kept", f"{self.kept:,}", style="bold")
        table.add_row("fingerprint", self.fingerprint[:12], style="dim")
        return table
