"""The figures of an adaptation's report, the trials behind them, and the documents that changed most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smoothcse.experiments.adapt.candidates import CANDIDATES
from smoothcse.experiments.adapt.record import AdaptRecord
from smoothcse.experiments.adapt.trials import Trial
from smoothcse.experiments.adapt.verdict import ChangedDocument, Verdict
from smoothcse.report.axes import COLOURS
from smoothcse.report.figures import Interval, Line, forest_plot, line_plot
from smoothcse.report.sections import Figure, clipped


@dataclass(frozen=True)
class TrialRow:
    """A trial in the table of trials.

    Attributes:
        number: Number of the candidate in the plot, from 1.
        colour: Index of its colour.
        trial: The trial.
        about: Description of the candidate.
        gain: Score above that of the start; empty if that is unknown.
        selected: Whether this trial was selected.
    """

    number: int
    colour: int
    trial: Trial
    about: str
    gain: str
    selected: bool


def differences(verdict: Verdict) -> Figure:
    """Return the forest plot of the differences between the adapted model and the start."""
    compared = [("alone", verdict.alone), ("fused with BM25", verdict.fused)]
    if verdict.labels is not None:
        compared.append((f"your labels ({verdict.labels.metric})", verdict.labels))
    rows = []
    for colour, (label, comparison) in enumerate(compared):
        found = comparison.difference
        low, high = (found.mean if end is None else end for end in (found.low, found.high))
        rows.append(Interval(label, found.mean, low, high, colour))
    alt = "; ".join(f"{label} {comparison.difference}" for label, comparison in compared)
    text = (
        "Adapted minus start, in points, with 95% intervals. Right of the dashed line, the adapted model is better; "
        "an interval that crosses it leaves open which one is."
    )
    picture = forest_plot(rows, x="difference, points", alt=f"Adapted minus start: {alt}.")
    return Figure("Differences", picture, text)


def trial_rows(record: AdaptRecord) -> list[TrialRow]:
    """Return the trials that were compared, in order."""
    about = {candidate.name: candidate.about for candidate in CANDIDATES}
    compared, numbers = _compared(record.trials), _numbers(record.trials)
    return [
        TrialRow(
            number=numbers[trial.candidate] + 1,
            colour=numbers[trial.candidate] % COLOURS,
            trial=trial,
            about=about.get(trial.candidate, ""),
            gain="" if record.start_score is None else f"{trial.score - record.start_score:+.1f}",
            selected=trial.run_name == record.selected,
        )
        for trial in compared
    ]


def trials_plot(record: AdaptRecord) -> Figure | None:
    """Return the scores of the candidates against their steps; None without trials."""
    trials = _compared(record.trials)
    if not trials:
        return None
    lines = [_line(record, name, number) for name, number in _numbers(trials).items()]
    best = max(trials, key=lambda trial: trial.score)
    start = "" if record.start_score is None else f"The start has {record.start_score:.1f} (dashed). "
    text = (
        f"{start}Each round trains its candidates anew for more steps, and the best third continues. The ring marks "
        "the selected trial. These scores are of the selecting half; the verdict is not."
    )
    alt = f"Score of each candidate against steps. Highest: {best.candidate}, {best.steps:,} steps, {best.score:.1f}."
    return Figure("Trials", line_plot(lines, x="steps", y="MRR x 100, selecting half", alt=alt), text)


def changes(verdict: Verdict | None) -> list[tuple[str, list[ChangedDocument]]]:
    """Return headings with the documents that rose and fell most, their texts clipped."""
    if verdict is None:
        return []
    found = [("Rose most", verdict.risen), ("Fell most", verdict.fallen)]
    return [(heading, [_clipped(change) for change in several]) for heading, several in found]


def _clipped(change: ChangedDocument) -> ChangedDocument:
    return ChangedDocument(clipped(change.query), clipped(change.document), change.before, change.after)


def _line(record: AdaptRecord, name: str, number: int) -> Line:
    own = [trial for trial in _compared(record.trials) if trial.candidate == name]
    names = [trial.run_name for trial in own]
    return Line(
        points=[(trial.steps, trial.score) for trial in own],
        colour=number,
        label=str(number + 1),
        dots=[f"{name}, round {trial.round}, {trial.steps:,} steps: {trial.score:.1f}" for trial in own],
        ring=names.index(record.selected) if record.selected in names else None,
        level=record.start_score if number == 0 else None,
    )


def _numbers(trials: Sequence[Trial]) -> dict[str, int]:
    """Return the numbers of the candidates, from 0, in the order of their first trial."""
    names = dict.fromkeys(trial.candidate for trial in _compared(trials))
    return {name: number for number, name in enumerate(names)}


def _compared(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials without the run that measured the costs, unless there is no other."""
    return [trial for trial in trials if trial.round] or list(trials)
