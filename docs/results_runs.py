"""Figures of the runs of a study, for the templates of the pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from results_files import have_run, page, planned, runs

from smoothcse.experiments.planned_runs import run_name
from smoothcse.experiments.statistics import paired_difference, show_mean_sd


def scores(study: str, variant: str, measure: str = "last", **point: Any) -> dict[int, float]:
    """Return the score of each seed of a variant: ``last``, ``best``, or ``avg`` of the seven tasks."""
    rows = [row for row in runs(study) if row["variant"] == variant and row.get("point", {}) == point]
    return {row["seed"]: row["sts"]["avg"] if measure == "avg" else row[measure] for row in rows}


def paired(study: str, treated: str, control: str, measure: str = "last", **point: Any) -> str:
    """Return the difference of two variants over their common seeds, with its interval."""
    return difference(scores(study, treated, measure, **point), scores(study, control, measure, **point))


def difference(treated: Mapping[int, float], control: Mapping[int, float], decimals: int = 2) -> str:
    """Return the mean of the paired differences with its interval."""
    common = [seed for seed in treated if seed in control]
    found = paired_difference([treated[seed] for seed in common], [control[seed] for seed in common])
    return found.words(decimals)


def between(study: str, variant: str, field: str, value: Any, base: Any) -> str:
    """Return the score of a variant at a value of the grid's field minus that at another value."""
    return difference(*(scores(study, variant, **{field: at}) for at in (value, base)))


def spread(study: str, treated: str, control: str, field: str, values: Sequence[Any]) -> str:
    """Return the smallest and the largest difference of two variants over the values of a field of the grid."""
    found = []
    for value in values:
        ours, theirs = (scores(study, variant, **{field: value}) for variant in (treated, control))
        found.append(fmean(ours[seed] - theirs[seed] for seed in ours if seed in theirs))
    return f"{min(found):+.2f} to {max(found):+.2f}"


def score(study: str, variant: str, measure: str = "last", **point: Any) -> str:
    """Return mean ± sd over seeds."""
    return show_mean_sd(list(scores(study, variant, measure, **point).values()))


def start(study: str) -> str:
    """Return the dev score of the start, which the runs of a study have in common."""
    return f"{runs(study)[0]['start']:.2f}"


def scores_by_point(study: str, measure: str = "last") -> str:
    """Return a table of mean ± sd (seeds): a row per variant, and the start for dev scores; a column per point."""
    plan = planned(study)
    columns = [", ".join(map(str, point.values())) for point in plan.points()]
    rows = []
    if measure == "last":
        rows.append(["start", *([start(study)] * len(columns))])
    for variant in plan.variants:
        known = [list(scores(study, variant, measure, **point).values()) for point in plan.points()]
        if any(known):
            cells = (f"{show_mean_sd(found)} ({len(found)})" if found else "" for found in known)
            rows.append([f"`{variant}`", *cells])
    lines = [["variant", *columns], [":--", *["--:"] * len(columns)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def masked_per_anchor(study: str, variant: str) -> str:
    """Return the mean number of negatives of an anchor that a mask removed, at each batch size of the grid."""
    found = []
    for point in planned(study).points():
        masked = fmean(scores(study, variant, "masked_share", **point).values())
        found.append(f"{masked * (point['batch_size'] - 1):.2f} at {point['batch_size']:,}")
    return ", ".join(found)


def rates(study: str) -> str:
    """Return the learning rate of each batch size of a study's grid."""
    sizes = planned(study).grid["batch_size"]
    found = (f"{fields['learning_rate']:.1e} at {size:,}" for size, fields in sizes.items())
    return ", ".join(found).replace("e-0", "e-")


def highest(study: str, measure: str, variants: Collection[str] | None = None) -> str:
    """Return the variant with the highest mean, of some variants or of all."""
    arms = variants or planned(study).variants
    return max(arms, key=lambda variant: fmean(scores(study, variant, measure).values()))


def sd5(study: str, treated: str, control: str) -> str:
    """Return the standard deviation of the paired differences of the seven-task average over the first five seeds."""
    ours, theirs = (scores(study, variant, "avg") for variant in (treated, control))
    return f"{stdev(ours[seed] - theirs[seed] for seed in range(5)):.3f}"


def share(study: str, variant: str, **point: Any) -> str:
    """Return the mean noise share of a variant."""
    return f"{fmean(scores(study, variant, 'noise_share', **point).values()):.1%}"


def seeds(study: str, variant: str) -> str:
    """Return the number of seeds of a variant."""
    return str(len({row["seed"] for row in runs(study) if row["variant"] == variant}))


def count(study: str) -> str:
    """Return the number of runs of a study."""
    return str(len(runs(study)))


def has_run(study: str, variants: Sequence[str] | None = None) -> bool:
    """Return whether two seeds, the fewest that an interval needs, have all runs of some variants; default: of all."""
    if not have_run(study):
        return False
    known = {run_name(row["variant"], row["point"], row["seed"]) for row in runs(study)}
    plan = planned(study)
    return sum(all(run.name in known for run in plan.runs(variants, [seed])) for seed in plan.seeds) > 1


def ran_on(study: str) -> str:
    """Return days, hardware, versions of torch and revisions of the runs of a study."""
    found = [row["environment"] for row in runs(study)]
    facts = [
        {row["started"][:10] for row in found},
        {row["hardware"] for row in found},
        {f"torch {row['versions']['torch']}" for row in found},
        {f"revision {row['git_commit'][:7]}{row['git_commit'][40:]}" for row in found},
    ]
    return ", ".join(" and ".join(sorted(fact)) for fact in facts)


def table(study: str, title: str) -> str:
    """Return the table of ``summary.md`` below the line that starts with ``title``."""
    parts = page(f"{study}/summary.md").strip().split("\n\n")
    [found] = [rows for about, rows in zip(parts[::2], parts[1::2], strict=True) if about.startswith(title)]
    return found
