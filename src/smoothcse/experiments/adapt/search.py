"""The search of an adaptation: measure the costs, plan the rounds, train, and let the best continue."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.json_files import read_text
from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.adapt.budget import FIRST_STEPS, Costs, Round, plan_rounds
from smoothcse.experiments.adapt.candidates import BASE, Candidate
from smoothcse.experiments.adapt.layout import ROUNDS
from smoothcse.experiments.adapt.show import Progress
from smoothcse.experiments.adapt.trials import CALIBRATION_STEPS, Trial, Trials

MOST_EPOCHS = 20
MOST_STEPS = 1000
"""Limits of a run."""


def search(
    trials: Trials, candidates: Sequence[Candidate], seconds_left: Callable[[], float], progress: Progress
) -> None:
    """Train candidates round by round within the time that is left.

    Args:
        trials: Trials so far; those of this call are added.
        candidates: Candidates, the most promising first.
        seconds_left: Function that returns the rest of the budget.
        progress: Display.

    Raises:
        SmoothCSEError: If the time does not suffice for one short run.
    """
    with progress.showing("measuring the duration of a step"):
        costs = _costs(trials.run(candidates[0], 0, CALIBRATION_STEPS))
    for number, part in enumerate(_rounds(trials, costs, len(candidates), seconds_left), start=1):
        candidates = candidates[: part.runs]
        finished = []
        for candidate in candidates:
            with progress.showing(f"round {number}: {candidate.name}, {part.steps} steps"):
                trial = trials.run(candidate, number, part.steps)
            progress.trial(trial)
            finished.append(trial)
        candidates = _ranked(candidates, finished)


def _rounds(trials: Trials, costs: Costs, candidates: int, seconds_left: Callable[[], float]) -> list[Round]:
    """Return the planned rounds: those recorded, so that a continued search trains what it would have trained."""
    file = Path(trials.request.output) / ROUNDS
    if file.is_file():
        return [Round(*part) for part in json.loads(read_text(file, "the rounds of an adaptation"))]
    rounds = plan_rounds(seconds_left(), costs, candidates, _most_steps(trials.material.passages))
    if not rounds:
        left, shortest = seconds_left(), costs.of(1, FIRST_STEPS)
        enough = trials.request.minutes + (shortest - left) / 60
        raise SmoothCSEError(
            f"--minutes {trials.request.minutes:g} is too short: {max(0.0, left):.0f} seconds are left, and the "
            f"shortest run, of {FIRST_STEPS} steps, takes about {shortest:.0f}; give --minutes {math.ceil(enough)} or "
            "more, or a smaller --max-tokens."
        )
    write_text_atomic(file, json.dumps([[part.runs, part.steps] for part in rounds]) + "\n")
    return rounds


def _costs(trial: Trial) -> Costs:
    return Costs(trial.step_seconds, max(0.0, trial.seconds - trial.steps * trial.step_seconds))


def _most_steps(passages: int) -> int:
    batches = max(1, passages // int(BASE["batch_size"]))
    return min(MOST_STEPS, max(FIRST_STEPS, MOST_EPOCHS * batches))


def _ranked(candidates: Sequence[Candidate], finished: Sequence[Trial]) -> list[Candidate]:
    """Return the candidates by falling score; of equal ones, the more promising first."""
    order = sorted(range(len(candidates)), key=lambda place: -finished[place].score)
    return [candidates[place] for place in order]
