"""The figures and examples of a report, with their captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from smoothcse.report.facts import verdict
from smoothcse.report.figures import Line, Ridge, line_plot, ridge_plot, scatter_plot
from smoothcse.report.read import RecordedRun
from smoothcse.report.samples import Samples, Similarities

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXAMPLES = 5
"""Number of sentences whose neighbours are shown."""

_LONGEST = 240  # maximum characters of a sentence


@dataclass(frozen=True)
class Figure:
    """A plot with its caption.

    Attributes:
        title: Title of a few words.
        picture: ``<svg>``, or None if there is nothing to draw.
        text: Caption, or the reason why there is no plot.
    """

    title: str
    picture: Markup | None
    text: str


@dataclass(frozen=True)
class Neighbour:
    """A nearest neighbour of a sentence.

    Attributes:
        text: Text of the neighbour.
        cosine: Cosine with the sentence.
        new: Whether it was not among the nearest neighbours before training.
    """

    text: str
    cosine: float
    new: bool


@dataclass(frozen=True)
class Neighbours:
    """Nearest neighbours of example sentences, before and after training.

    Attributes:
        text: Caption, or the reason why there are no examples.
        examples: For each example: the sentence, its neighbours before and its neighbours after, each empty if
            unknown.
    """

    text: str
    examples: list[tuple[str, list[Neighbour], list[Neighbour]]]


def curves(runs: Sequence[RecordedRun], samples: Sequence[Samples]) -> list[Figure]:
    """Return plots of loss, dev score, noise share, and alignment against uniformity, with one line per run."""
    return [_loss(runs), *_dev_scores(runs), _noise_share(runs), _path(runs, samples)]


def similarities(samples: Samples) -> Figure:
    """Return the histograms of the cosines of positives, negatives and noise, before and after training."""
    before, after = (model.similarities if model else None for model in (samples.before, samples.after))
    known = after or before
    if not known:
        return Figure("Cosines", None, _reasons(samples, "corpus"))
    rows: list[Ridge] = [
        (kind, getattr(before, kind, None), getattr(after, kind, None)) for kind in ("positives", "negatives", "noise")
    ]
    means = "; ".join(f"{kind} {_mean(first)} before, {_mean(second)} after" for kind, first, second in rows)
    labels = " and ".join(model.label for model in (samples.before, samples.after) if model)
    text = f"{len(known.positives):,} sentences of the corpus ({labels}). Means: {means}."
    return Figure("Cosines", ridge_plot(rows, x="cosine similarity", alt=f"Mean cosines: {means}."), text)


def gold_scores(run: RecordedRun, samples: Samples) -> list[Figure]:
    """Return scatter plots of cosine against human score, before and after training, or why there are none."""
    found = [
        (place, model, model.gold)
        for place, model in (("Before", samples.before), ("After", samples.after))
        if model and model.gold
    ]
    if not found:
        return [Figure("Gold scores", None, _reasons(samples, "gold"))]
    cosines = np.concatenate([pairs.cosines for _, _, pairs in found])
    y_range = (float(cosines.min()), float(cosines.max()))
    logged = {step: f" Spearman × 100 of all pairs: {score:.2f}." for step, score in run.curve("eval_dev_score")}
    figures = []
    for place, model, pairs in found:
        text = f"{len(pairs.gold):,} pairs of STS-B dev, drawn at random.{logged.get(model.step, '')}"
        picture = scatter_plot(
            list(zip(pairs.gold.tolist(), pairs.cosines.tolist(), strict=True)),
            _means_by_score(pairs.gold, pairs.cosines),
            x="human score",
            y="cosine similarity",
            alt=f"Cosine against human score, {model.label}. {text}",
            x_range=(0.0, 5.0),
            y_range=y_range,
        )
        figures.append(Figure(f"{place}: {model.label}", picture, text))
    return figures


def neighbours(samples: Samples) -> Neighbours:
    """Return the nearest neighbours of some sentences, before and after training."""
    before, after = (model.similarities if model else None for model in (samples.before, samples.after))
    known = after or before
    if not known:
        return Neighbours(_reasons(samples, "corpus"), [])
    count = len(samples.sentences)
    rows = np.sort(np.random.default_rng(0).permutation(count)[:EXAMPLES]).tolist()
    examples = [
        (clipped(samples.sentences[row]), _nearest(samples, before, row), _nearest(samples, after, row, before))
        for row in rows
    ]
    changed = ""
    if before and after:
        moved = int(np.count_nonzero(before.neighbours[:, 0] != after.neighbours[:, 0]))
        changed = f" The nearest neighbour of {moved:,} of the {count:,} sentences changed."
    text = (
        f"The {known.neighbours.shape[1]} nearest neighbours, with cosines, of {len(rows)} random sentences among "
        f"{count:,} sentences sampled from the corpus.{changed}"
    )
    return Neighbours(text, examples)


def _nearest(
    samples: Samples, model: Similarities | None, row: int, earlier: Similarities | None = None
) -> list[Neighbour]:
    if not model:
        return []
    old = None if earlier is None else earlier.neighbours[row]
    return [
        Neighbour(clipped(samples.sentences[other]), cosine, new=old is not None and other not in old)
        for other, cosine in zip(model.neighbours[row].tolist(), model.cosines[row].tolist(), strict=True)
    ]


def _loss(runs: Sequence[RecordedRun]) -> Figure:
    title = "Loss"
    lines = [Line(run.curve("loss"), number, _number(runs, number)) for number, run in enumerate(runs)]
    lines = [line for line in lines if any(value > 0 for _, value in line.points)]
    if not lines:
        return Figure(title, None, "No loss has been logged yet.")
    ends = _ends(lines[0]) if len(runs) == 1 else "one line per run"
    text = (
        f"Training loss, on a logarithmic axis ({ends}). It should fall and then level out. Its final value says "
        "little, because batch size, temperature and noise set its scale."
    )
    picture = line_plot(lines, x="step", y="training loss", alt=f"Training loss against step: {ends}.", log=True)
    return Figure(title, picture, text)


def _dev_scores(runs: Sequence[RecordedRun]) -> list[Figure]:
    """Return one plot per criterion, because scores of different criteria are not comparable."""
    by_criterion: dict[str, list[Line]] = {}
    words: dict[str, list[str]] = {}
    for number, run in enumerate(runs):
        points = run.curve("eval_dev_score")
        if not points or not run.result:
            continue
        steps = [step for step, _ in points]
        dots = [f"{run.name}, step {step:,}: {score:.2f}" for step, score in points]
        best = steps.index(run.result.best_step) if run.result.best_step in steps else None
        start = run.result.start_score if math.isfinite(run.result.start_score) else None
        line = Line(points, number, _number(runs, number), dots, best, start)
        by_criterion.setdefault(run.result.criterion, []).append(line)
        words.setdefault(run.result.criterion, []).append(f"{run.name}: {verdict(run)}")
    text = (
        "The dashed line is the score before training; the ring marks the best step, whose model is selected. A curve "
        "that peaks early and then falls indicates a learning rate that is too high, or too many steps."
    )
    figures = [
        Figure("Dev score", line_plot(lines, x="step", y="dev score", alt=" ".join(words[name])), f"{name}. {text}")
        for name, lines in by_criterion.items()
    ]
    return figures or [Figure("Dev score", None, "Nothing has been evaluated yet.")]


def _noise_share(runs: Sequence[RecordedRun]) -> Figure:
    title = "Noise share"
    lines = []
    for number, run in enumerate(runs):
        points = [(step, 100.0 * share) for step, share in run.curve("noise_share")]
        if any(share for _, share in points):
            lines.append(Line(points, number, _number(runs, number)))
    if not lines:
        return Figure(title, None, "No noise was used, as in plain InfoNCE (SimCSE).")
    ends = _ends(lines[0]) if len(runs) == 1 else "one line per run with noise"
    text = (
        f"Share of the negatives' sum in the loss that comes from Gaussian noise, in percent ({ends}). Near 0, the "
        "noise has no effect; near 100, the other sentences of the batch have almost none."
    )
    return Figure(
        title, line_plot(lines, x="step", y="noise share, %", alt=f"Noise share against step: {ends}."), text
    )


def _path(runs: Sequence[RecordedRun], samples: Sequence[Samples]) -> Figure:
    title = "Alignment and uniformity"
    lines, measured = [], False
    for number, (run, sample) in enumerate(zip(runs, samples, strict=True)):
        logged = run.path()
        stations = logged or _measured_path(sample)
        if not stations:
            continue
        measured |= not logged
        points = [(x, y) for _, x, y in stations]
        dots = [f"{run.name}, step {step:,}: uniformity {x:.3f}, alignment {y:.3f}" for step, x, y in stations]
        lines.append(Line(points, number, _number(runs, number) or "end", dots, _best_place(run, stations)))
    if not lines:
        return Figure(title, None, _reasons(samples[0], "corpus"))
    origin = (
        "Values that training did not log were measured for this report, on the start, best and last model."
        if measured
        else "As logged at each evaluation."
    )
    text = (
        "Alignment is the distance between two dropout views of a sentence; uniformity measures how evenly sentences "
        "are spread over the sphere. Lower is better for both (down and to the left), but one often improves at the "
        f"expense of the other. The ring marks the best step, the label the end. {origin}"
    )
    alt = "Path of each run from its start to its end. " + " ".join(
        f"{line.dots[0]}; {line.dots[-1]}." for line in lines
    )
    return Figure(title, line_plot(lines, x="uniformity", y="alignment", alt=alt), text)


def _measured_path(samples: Samples) -> list[tuple[int, float, float]]:
    models = sorted(samples.models.values(), key=lambda model: model.step)
    return [(m.step, m.similarities.uniformity, m.similarities.alignment) for m in models if m.similarities]


def _best_place(run: RecordedRun, stations: Sequence[tuple[int, float, float]]) -> int | None:
    steps = [step for step, _, _ in stations]
    return steps.index(run.result.best_step) if run.result and run.result.best_step in steps else None


def _number(runs: Sequence[RecordedRun], number: int) -> str:
    """Return a run's label in plots of several runs, or an empty string for a single run."""
    return str(number + 1) if len(runs) > 1 else ""


def _ends(line: Line) -> str:
    (first, before), (last, after) = line.points[0], line.points[-1]
    if len(line.points) == 1:
        return f"{after:.3g} at step {last:,}"
    return f"{before:.3g} at step {first:,}, {after:.3g} at step {last:,}"


def _reasons(samples: Samples, data: str) -> str:
    """Return why a section is empty: its data is missing, or all models are."""
    if data in samples.missing:
        return f"Not shown. {samples.missing[data]}"
    return "Not shown. " + " ".join(samples.missing.values())


def _means_by_score(gold: NDArray[np.float64], cosines: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Return the mean cosine of the pairs around each half point that has any."""
    near = np.round(gold * 2) / 2
    return [(float(score), float(cosines[near == score].mean())) for score in np.unique(near)]


def _mean(values: NDArray[np.float32] | None) -> str:
    return "unknown" if values is None else f"{round(float(values.mean()), 3) + 0.0:.3f}".replace("-", "−")


def clipped(text: str) -> str:
    """Return a text, cut to a length that a page can show."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
