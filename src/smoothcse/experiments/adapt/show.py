"""What an adaptation prints: its progress with the time left, and the verdict."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from smoothcse._utils.tables import FigureTable
from smoothcse.experiments.adapt.layout import MODEL
from smoothcse.experiments.adapt.next_commands import next_steps

if TYPE_CHECKING:
    from smoothcse.experiments.adapt.record import AdaptRecord
    from smoothcse.experiments.adapt.trials import Trial
    from smoothcse.experiments.adapt.verdict import BeforeAfter, Verdict

_CHANGES = 3  # documents shown that rose most, and that fell most


class Progress:
    """Lines about what is being done, and one per trial.

    Args:
        console: Console to print on.
        seconds: Time budget.
    """

    def __init__(self, console: Console, seconds: float) -> None:
        self.console, self.seconds = console, seconds
        self.started = time.perf_counter()
        self.start_score = 0.0

    def seconds_left(self) -> float:
        """Return the rest of the time budget."""
        return self.seconds - (time.perf_counter() - self.started)

    @contextmanager
    def showing(self, activity: str) -> Iterator[None]:
        """Show an activity, with the time left at its beginning."""
        left = max(0.0, self.seconds_left()) / 60
        with self.console.status(f"{escape(activity)} (at most {left:.0f} minutes left)"):
            yield

    def start(self, score: float) -> None:
        """Print the score of the start."""
        self.start_score = score
        self.console.print(f"Start: MRR {score:.1f} on the selecting half of the probe.", highlight=False)

    def trial(self, trial: Trial) -> None:
        """Print a finished trial."""
        self.console.print(
            f"Round {trial.round}: {trial.candidate:<15} {trial.steps:>4} steps, {trial.seconds:>4.0f} s, "
            f"MRR {trial.score:.1f} ({trial.score - self.start_score:+.1f})",
            highlight=False,
        )


def print_result(record: AdaptRecord, folder: Path, console: Console) -> None:
    """Print the verdict with its table, the documents that changed most, and what to do next."""
    console.print()
    if record.verdict:
        console.print(_table(record.verdict))
        console.print()
        _print_changes(record.verdict, console)
    console.print(record.summary, style="bold", markup=False, highlight=False)
    console.print(f"The model is in {folder / MODEL}.", markup=False, highlight=False, soft_wrap=True)
    for step in next_steps(record, folder):
        console.print(f"\n{step.purpose}:", markup=False, highlight=False)
        for command in step.commands:  # never wrapped, so that they can be copied
            console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)


def _table(verdict: Verdict) -> FigureTable:
    title = f"MRR x 100, {verdict.documents:,} held-out documents, {verdict.queries:,} queries"
    table = FigureTable(["ranked by"], ("start", "adapted", "difference [95%]"), title)
    table.add_row("words (BM25)", f"{verdict.bm25:.1f}", f"{verdict.bm25:.1f}", "")
    table.add_row("meaning (the model alone)", *_figures(verdict.alone))
    table.add_row("both (fused)", *_figures(verdict.fused))
    if maxsim := verdict.maxsim:
        after = f"{maxsim.after:.1f}"
        cells = (after, "") if verdict.keeps_start else ("", after)
        name = f"both, then MaxSim ({maxsim.milliseconds:.0f} ms per query, {maxsim.queries:,} queries)"
        table.add_row(name, *cells, f"{maxsim.difference} to both")
    if labels := verdict.labels:
        table.add_row(f"your labels: {escape(labels.name)} ({labels.items:,}, {labels.metric})", *_figures(labels))
    if general := verdict.general:
        difference = f"{general.after - general.before:+.1f}"
        table.add_row("general STS (Spearman x 100)", f"{general.before:.1f}", f"{general.after:.1f}", difference)
    return table


def _figures(comparison: BeforeAfter) -> tuple[str, str, str]:
    return f"{comparison.before:.1f}", f"{comparison.after:.1f}", str(comparison.difference)


def _print_changes(verdict: Verdict, console: Console) -> None:
    for heading, changes in (("Rose most", verdict.risen[:_CHANGES]), ("Fell most", verdict.fallen[:_CHANGES])):
        if changes:
            console.print(heading)
        for change in changes:
            query = " ".join(change.query.split())
            line = f"  rank {change.before:>5,} to {change.after:>5,}  {query}"
            console.print(line, markup=False, highlight=False, no_wrap=True, overflow="ellipsis")
    if verdict.risen or verdict.fallen:
        console.print()
