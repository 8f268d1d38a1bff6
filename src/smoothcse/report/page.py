"""The report: what there is to see of one run or several, as one HTML file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.console import Console

from smoothcse import __version__
from smoothcse._utils.atomic import require_writable, write_whole
from smoothcse._utils.paths import local_path
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.evaluate import shortest_names
from smoothcse.report.facts import card, comparison, configuration, verdict
from smoothcse.report.figures import COLOURS
from smoothcse.report.read import RecordedRun, read_run
from smoothcse.report.samples import Samples, draw_samples
from smoothcse.report.sections import curves, gold_scores, neighbours, similarities

NAME = "report.html"
"""Name of the file where none is given."""


def write_report(
    runs: Sequence[str | Path], output: str | Path | None = None, *, console: Console | None = None
) -> Path:
    """Write a page about runs: curves, similarities and neighbours before and after, and a comparison of several.

    What was logged is drawn as it is. What was not is measured now, on a sample of each run's corpus, with the models
    that are still there; where something is missing, the page says so in its place.

    Args:
        runs: one or more run folders, finished or not.
        output: the file; None for ``report.html`` in the run's folder, for several in the folder that holds them all.
        console: where to say what is being measured; None for silence.

    Returns:
        The file.

    Raises:
        SmoothCSEError: if there is no run, a folder is none of a run, or the file cannot be written; all of that is
            found before anything is measured.
    """
    if not runs:
        raise SmoothCSEError("There is no run to report on; give at least one run folder.")
    recorded = [read_run(path, name) for name, path in shortest_names(runs).items()]
    file = _checked(local_path(output) if output else _default(recorded))
    samples = []
    for run in recorded:
        if console:
            console.print(f"measuring {run.name}", markup=False, highlight=False)
        samples.append(draw_samples(run))
    _write(file, render(recorded, samples))
    return file


def render(runs: Sequence[RecordedRun], samples: Sequence[Samples]) -> str:
    """Return the page about runs and what was measured of them, as HTML."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} runs compared",
        runs=[_about(run, sample, number) for number, (run, sample) in enumerate(zip(runs, samples, strict=True))],
        comparison=comparison(runs) if len(runs) > 1 else None,
        curves=curves(runs, samples),
        made=f"smoothcse {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
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
        # A missing model leaves half a section; a missing corpus or gold says so in the section itself.
        "notes": [*samples.notes, *(words for key, words in samples.missing.items() if key in _MODELS)],
        "similarities": similarities(samples),
        "gold": gold_scores(run, samples),
        "neighbours": neighbours(samples),
    }


_MODELS = ("start", "best", "last")


def _default(runs: Sequence[RecordedRun]) -> Path:
    folders = [run.folder.path.resolve() for run in runs]
    return Path(os.path.commonpath(folders)) / NAME


def _checked(file: Path) -> Path:
    """Return the file, having made sure that it can be written and replaces nothing but a page."""
    if os.path.isdir(file):  # says no where Path.is_dir fails, such as of a name too long
        raise SmoothCSEError(f"The output {file} is a folder; give the name of a file.")
    if file.suffix not in (".html", ".htm"):
        raise SmoothCSEError(f"The output {file} must end in .html.")
    if not os.path.isdir(file.parent):
        raise SmoothCSEError(f"The output {file} cannot be written: there is no folder {file.parent}; make it first.")
    _write(file, None)
    return file


def _write(file: Path, text: str | None) -> None:
    """Write the file whole; None to find out whether that would be possible."""
    try:
        if text is None:
            require_writable(file)
        else:
            write_whole(file, text)
    except OSError as error:
        raise SmoothCSEError(
            f"The report {file} cannot be written: {error.strerror or error}; give another --output."
        ) from error
