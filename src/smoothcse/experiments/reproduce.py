"""Reproduction of a published recipe and its control over seeds.

::

    OUTPUT/METHOD/seed-42/     run folder, with its scores on the seven tasks in sts.json and sts.csv
    OUTPUT/control/seed-42/    the same without noise
    OUTPUT/reproduce.json      all results
    OUTPUT/reproduce.md        the table and the verdict
"""

from __future__ import annotations

from rich.console import Console

from smoothcse.encoders.hardware import find_hardware
from smoothcse.experiments.in_process import InProcess
from smoothcse.experiments.outcome import Outcome
from smoothcse.experiments.reproduction import Reproduction, check_data
from smoothcse.experiments.runner import run_plan


def reproduce(reproduction: Reproduction, *, resume: bool = False, console: Console | None = None) -> Outcome:
    """Train and score the missing runs, and write ``reproduce.json`` and ``reproduce.md``.

    Checkpoints of finished runs are removed; their best and last models are kept.

    Args:
        reproduction: Reproduction from :func:`~smoothcse.experiments.reproduction.plan_reproduction`.
        resume: Whether to keep finished runs and resume an interrupted one.
        console: Console for progress; None for standard error.

    Raises:
        SmoothCSEError: If the user can fix the error. Finished runs are kept for ``resume``.
    """
    plan = reproduction.plan()
    find_hardware(plan.runs[0].config.precision)
    if not resume:
        plan.require_new("continue with --resume, or give another --output")
    plan.require_same()
    check_data(reproduction.data)  # incomplete data is reported before the first training
    outcome = Outcome(reproduction, run_plan(plan, InProcess(console or Console(stderr=True))))
    outcome.save()
    return outcome
