"""The report on an adaptation, as one self-contained HTML file made from ``adapt.json`` alone."""

from __future__ import annotations

import os
from pathlib import Path

from smoothcse._utils.paths import local_path
from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.adapt.layout import RECORD, REQUEST
from smoothcse.experiments.adapt.next_commands import next_steps
from smoothcse.experiments.adapt.record import AdaptRecord, read_record
from smoothcse.report.adaptation_facts import adaptation_card, arguments, documents_read, score_rows, tiles
from smoothcse.report.adaptation_figures import changes, differences, trial_rows, trials_plot
from smoothcse.report.html_file import PAGE, check_page, fill_template, write_page


def is_adaptation(folder: str | Path) -> bool:
    """Return whether a folder holds an adaptation, finished or not."""
    return any(os.path.isfile(local_path(folder) / name) for name in (RECORD, REQUEST))


def write_adaptation_report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Write a page about a finished adaptation: the verdict, its figures, the trials, and what to do next.

    Nothing is measured, and neither the model nor the documents need to be there.

    Args:
        folder: Output folder of the adaptation.
        output: HTML file to write. Default: ``report.html`` in the folder.

    Returns:
        Path of the page.

    Raises:
        SmoothCSEError: If the folder holds no finished adaptation, or the file cannot be written.
    """
    folder = local_path(folder)
    if not os.path.isfile(folder / RECORD) and is_adaptation(folder):
        raise SmoothCSEError(f"The adaptation in {folder} is unfinished; repeat its `smoothcse adapt` to continue it.")
    record = read_record(folder)
    file = check_page(output or folder / PAGE)
    write_page(file, render_adaptation(record, folder))
    return file


def render_adaptation(record: AdaptRecord, folder: Path) -> str:
    """Return the page as HTML.

    Args:
        record: Record of the adaptation.
        folder: Its output folder, which the commands name.
    """
    verdict = record.verdict
    return fill_template(
        "adaptation.html.j2",
        title=f"{folder.resolve().name}: an encoder adapted to documents",
        record=record,
        verdict=verdict,
        tiles=tiles(verdict),
        rows=score_rows(verdict),
        differences=differences(verdict) if verdict else None,
        trials=trial_rows(record),
        trials_plot=trials_plot(record),
        changes=changes(verdict),
        documents=documents_read(record.documents),
        card=adaptation_card(record, folder),
        arguments=arguments(record),
        steps=next_steps(record, folder),
    )
