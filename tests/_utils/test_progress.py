"""The progress bar shows count, unit, status and time within 80 columns."""

from __future__ import annotations

import io

from rich.console import Console

from smoothcse._utils.progress import progress_bar


def drawn(total, completed, *, unit="", description="", **fields):
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    bar = progress_bar(console, unit=unit)
    task = bar.add_task(description, total=total)
    bar.update(task, completed=completed, **fields)
    with console.capture() as capture:
        console.print(bar.get_renderable())
    return capture.get()


def test_a_known_total_shows_the_time_left():
    line = drawn(40, 12, unit="runs", description="study", status="gs/seed-1")
    assert line.split()[0] == "study"
    assert "12/40 runs gs/seed-1 left" in line


def test_an_unknown_total_shows_the_elapsed_time():
    line = drawn(None, 1234, unit="lines", description="encoding")
    assert "1,234 lines" in line
    assert "left" not in line
    assert "0:00:00" in line


def test_the_figures_of_a_training_run_fit_in_80_columns():
    status = "loss 0.1234 noise share 12.3% best 77.22"
    line = drawn(7812, 500, status=status)
    assert f"500/7,812 {status} left" in line
    assert len(line.splitlines()) == 1
