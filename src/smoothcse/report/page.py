"""The report on one or several runs, as one self-contained HTML file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.evaluate import shortest_names
from smoothcse.report.axes import COLOURS
from smoothcse.report.facts import card, comparison, configuration, verdict
from smoothcse.report.html_file import PAGE, check_page, fill_template, write_page
from smoothcse.report.read import RecordedRun, read_run
from smoothcse.report.samples import Samples, draw_samples
from smoothcse.report.sections import curves, gold_scores, neighbours, similarities


def write_report(
    runs: Sequence[str | Path], output: str | Path | None = None, *, console: Console | None = None
) -> Path:
    """Write a page about runs: curves, similarities and neighbours before and after, and a comparison of several.

    Logged values are plotted as they are. Other values are measured now, on a sample of each run's corpus, with the
    models that still exist. The page states what is missing.

    Args:
        runs: One or more run folders, finished or not.
        output: HTML file to write. Default: ``report.html`` in the run folder, or in the common parent of several.
        console: Console for progress messages. Default: no output.

    Returns:
        Path of the page.

    Raises:
        SmoothCSEError: If there is no run, a folder is not a run folder, or the file cannot be written. All of this is
            checked before anything is measured.
    """
    if not runs:
        raise SmoothCSEError("There is no run to report on; give at least one run folder.")
    recorded = [read_run(path, name) for name, path in shortest_names(runs).items()]
    file = check_page(output or _default(recorded))
    samples = []
    for run in recorded:
        if console:
            console.print(f"measuring {run.name}", markup=False, highlight=False)
        samples.append(draw_samples(run))
    write_page(file, render(recorded, samples))
    return file


def render(runs: Sequence[RecordedRun], samples: Sequence[Samples]) -> str:
    """Return the page as HTML.

    Args:
        runs: Runs.
        samples: Measurements of each run.
    """
    return fill_template(
        "run.html.j2",
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared",
        runs=[_about(run, sample, number) for number, (run, sample) in enumerate(zip(runs, samples, strict=True))],
        comparison=comparison(runs) if len(runs) > 1 else None,
        curves=curves(runs, samples),
    )


def _about(run: RecordedRun, samples: Samples, number: int) -> dict[str, Any]:
    return {
        "name": run.name,
        "number": number + 1,
        "colour": number % COLOURS,
        "finished": run.finished,
        "result": run.result,
        "verdict": verdict(run),
        "card": card(run),
        "configuration": configuration(run),
        # Missing models are noted here; the sections themselves report a missing corpus or missing gold scores.
        "notes": [*samples.notes, *(words for key, words in samples.missing.items() if key in _MODELS)],
        "similarities": similarities(samples),
        "gold": gold_scores(run, samples),
        "neighbours": neighbours(samples),
    }


_MODELS = ("start", "best", "last")


def _default(runs: Sequence[RecordedRun]) -> Path:
    folders = [run.folder.path.resolve() for run in runs]
    return Path(os.path.commonpath(folders)) / PAGE
