"""Commands to give after an adaptation."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcse.experiments.adapt.layout import MODEL
from smoothcse.search.index_places import own_index

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
    """Return the commands that search the documents, after indexing them if needed, and compare with the start.

    Args:
        record: Record of the adaptation.
        folder: Output folder.
    """
    name = folder.name or folder.resolve().name  # `.` has no name
    place, start = str(folder.parent / name), record.request["model"]
    own, before = own_index(folder), f"{place}-start.index"
    model = place if own else str(folder / MODEL)
    after = str(own or f"{place}.index")
    if own:
        steps = [
            NextStep("Search the documents on a page", (_line("serve", place),)),
            NextStep("Search them here", (_line("search", place, "a query"),)),
        ]
    else:
        search = _line("search", after, "a query")
        steps = [
            NextStep("Index the documents and search them", (_index(model, place, after), search)),
            NextStep("Serve the model and a search page", (_line("serve", model, "--index", after),)),
        ]
    if record.adapted:
        alike = ["--rerank", "none"] if record.verdict and record.verdict.rerank != "none" else []
        compare = _line("serve", start, model, "--index", before, "--index", after, *alike)
        steps.append(NextStep("Compare before and after, side by side", (_index(start, place, before), compare)))
    return steps


def _index(model: str, adaptation: str, output: str) -> str:
    return _line("index", model, adaptation, "--output", output)


def _line(*words: str) -> str:
    return shlex.join(["smoothcse", *words])
