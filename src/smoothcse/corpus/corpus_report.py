"""What happened to the text on its way in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class CorpusReport:
    """How many sentences, or pairs, were read, dropped and kept.

    Attributes:
        source: What the user named.
        read: Lines, records or rows read.
        kept: Those left; ``read - sum(dropped.values())``.
        dropped: Count by reason: ``empty``, ``too short``, ``too long``, ``duplicate``, ``over the limit``.
        fingerprint: 32 hex digits that depend on the kept text and its order alone: equal for equal
            training text, whatever file, compression or options it came from.
        notes: What a careful reader would want to know besides, such as files that were ignored.
        columns: The columns that were read as pairs or triplets; none for sentences.
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
        """What is counted: ``sentences``, ``pairs`` or ``triplets``."""
        return ("sentences", "sentences", "pairs", "triplets")[len(self.columns)]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        plain = {"dropped": dict(self.dropped), "notes": list(self.notes), "columns": list(self.columns)}
        return {**asdict(self), **plain}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CorpusReport:
        """Read back what ``as_dict`` wrote."""
        return cls(**{**values, "notes": tuple(values["notes"]), "columns": tuple(values.get("columns", ()))})

    def table(self) -> Table:
        """Return the report as a table to print with rich."""
        from rich.table import Table
        from rich.text import Text

        # Names and notes hold brackets of their own, which are no markup.
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
