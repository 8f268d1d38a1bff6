"""Commands to give after an adaptation."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcse.experiments.adapt.layout import MODEL

if TYPE_CHECKING:
    from smoothcse.experiments.adapt.record import AdaptRecord


@dataclass(frozen=True)
class NextStep:
    """Something to do next.

    Attributes:
        purpose: Purpose in a few words.
        commands: Command lines, quoted for a shell.
    """

    purpose: str
    commands: tuple[str, ...]


def next_steps(record: AdaptRecord, folder: Path) -> list[NextStep]:
    """Return the commands that index the documents, search them, and compare the model with the start.

    Args:
        record: Record of the adaptation.
        folder: Output folder.
    """
    name = folder.name or folder.resolve().name  # `.` has no name
    after, before = (str(folder.parent / f"{name}{suffix}") for suffix in (".index", "-start.index"))
    model, start = str(folder / MODEL), record.request["model"]
    search = _line("search", after, "a query")
    steps = [
        NextStep("Index the documents and search them", (_index(model, record, after), search)),
        NextStep("Serve the model and a search page", (_line("serve", model, "--index", after),)),
    ]
    if record.adapted:
        alike = ["--rerank", "none"] if record.verdict and record.verdict.rerank != "none" else []
        compare = _line("serve", start, model, "--index", before, "--index", after, *alike)
        steps.append(NextStep("Compare before and after, side by side", (_index(start, record, before), compare)))
    return steps


def _index(model: str, record: AdaptRecord, output: str) -> str:
    column = ["--text", record.request["column"]] if record.request.get("column") else []
    return _line("index", model, record.request["documents"], *column, "--output", output)


def _line(*words: str) -> str:
    return shlex.join(["smoothcse", *words])
