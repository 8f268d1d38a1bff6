"""Write the summary of all results and the page of the smoothing study from their runs.

    python docs/results_summary.py            # both pages, and the figure of the adaptation study
    python docs/results_summary.py --check    # exit with 1 if a page differs from its runs

The sentences are in ``docs/templates``; every figure in them comes from a function of :func:`figures`.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from results_figure import plot_gains
from scipy.stats import spearmanr

from smoothcse.evaluation.published import is_system, published_results
from smoothcse.experiments.planned_runs import run_name
from smoothcse.experiments.statistics import paired_difference, show_mean_sd
from smoothcse.experiments.study import read_study

DOCS = Path(__file__).parent
RESULTS = DOCS / "results"
PAGES = {"results.md": RESULTS / "README.md", "smoothing.md": RESULTS / "smoothing" / "README.md"}
"""Page of each template."""

DOMAINS = ("python-docs", "manpages", "debian")
ENCODER = "packaged-minilm"

Run = Mapping[str, Any]


def main() -> None:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the pages with the runs; write nothing")
    arguments = parser.parse_args()
    if arguments.check:
        stale = [str(page) for name, page in PAGES.items() if page.read_text(encoding="utf-8") != render(name)]
        raise SystemExit(f"{', '.join(stale)}: run `python docs/results_summary.py`." if stale else 0)
    for name, page in PAGES.items():
        page.write_text(render(name), encoding="utf-8")
    plot_gains(runs("adaptation"), DOMAINS, ENCODER, RESULTS / "adaptation" / "gains.png")


def render(name: str) -> str:
    """Return the page of a template."""
    loader = FileSystemLoader(DOCS / "templates", encoding="utf-8")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False
    )
    return environment.get_template(name).render(figures())


def figures() -> dict[str, Callable[..., str | bool]]:
    """Return the functions that a template may call, by name."""
    return {
        "differ": differ,
        "same": same,
        "verdict": verdict,
        "effect": effect,
        "trend": trend,
        "adjusted_p": adjusted_p,
        "pairs": pairs,
        "paired": paired,
        "between": between,
        "spread": spread,
        "share": share,
        "score": score,
        "scores_by_point": scores_by_point,
        "masked_per_anchor": masked_per_anchor,
        "rates": rates,
        "highest": highest,
        "neighbours": neighbours,
        "established_arms": established_arms,
        "rank_correlation": rank_correlation,
        "sd5": sd5,
        "has_run": has_run,
        "ran_on": ran_on,
        "seeds": seeds,
        "count": count,
        "arm_seeds": arm_seeds,
        "gain": gain,
        "gains": gains,
        "cell": cell,
        "table": table,
    }


# ---- runs of a study ---------------------------------------------------------------------------------------------


@cache
def runs(study: str) -> tuple[Run, ...]:
    """Return the runs of a folder of ``docs/results`` that did not fail, in the order of their seeds."""
    lines = (RESULTS / study / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "failed" not in row]
    return tuple(sorted(rows, key=lambda row: row["seed"]))


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


def scores_by_point(study: str, measure: str = "last") -> str:
    """Return a table of mean ± sd (seeds): a row per variant, and the start for dev scores; a column per point."""
    planned = read_study(RESULTS / f"{study}.yaml")
    columns = [", ".join(map(str, point.values())) for point in planned.points()]
    rows = []
    if measure == "last":
        rows.append(["start", *([f"{runs(study)[0]['start']:.2f}"] * len(columns))])
    for variant in planned.variants:
        known = [list(scores(study, variant, measure, **point).values()) for point in planned.points()]
        if any(known):
            cells = (f"{show_mean_sd(found)} ({len(found)})" if found else "" for found in known)
            rows.append([f"`{variant}`", *cells])
    lines = [["variant", *columns], [":--", *["--:"] * len(columns)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def masked_per_anchor(study: str, variant: str) -> str:
    """Return the mean number of negatives of an anchor that a mask removed, at each batch size of the grid."""
    found = []
    for point in read_study(RESULTS / f"{study}.yaml").points():
        masked = fmean(scores(study, variant, "masked_share", **point).values())
        found.append(f"{masked * (point['batch_size'] - 1):.2f} at {point['batch_size']:,}")
    return ", ".join(found)


def rates(study: str) -> str:
    """Return the learning rate of each batch size of a study's grid."""
    sizes = read_study(RESULTS / f"{study}.yaml").grid["batch_size"]
    found = (f"{fields['learning_rate']:.1e} at {size:,}" for size, fields in sizes.items())
    return ", ".join(found).replace("e-0", "e-")


def highest(study: str, variants: Collection[str], measure: str) -> str:
    """Return the variant with the highest mean."""
    return max(variants, key=lambda variant: fmean(scores(study, variant, measure).values()))


def neighbours(study: str) -> str:
    """Return a table of the methods of question 5, with and without smoothing, beside their published averages."""
    headings = ("method", "published", "average", "minus SimCSE", "with a share of 0.4", "minus without")
    lines = [headings, (":--", *["--:"] * 5)]
    for method in methods_of(study):
        smoothed = f"{method}-share"
        lines.append(
            (
                f"`{method}`",
                "" if (known := published_average(method)) is None else f"{known:.2f}",
                score(study, method, "avg"),
                "" if method == "simcse" else differ(study, method, "simcse"),
                score(study, smoothed, "avg"),
                differ(study, smoothed, method),
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def methods_of(study: str) -> list[str]:
    """Return the methods of question 5, the best average first."""
    arms = [arm for arm in read_study(RESULTS / f"{study}.yaml").variants if not arm.endswith("-share")]
    return sorted(arms, key=lambda arm: -fmean(scores(study, arm, "avg").values()))


def published_average(method: str) -> float | None:
    """Return the published average of a method for BERT-base, or None."""
    return published_results(method, "BERT-base")[0].average if is_system(method) else None


def rank_correlation(study: str) -> str:
    """Return Spearman's rank correlation of the averages of question 5 with the published ones, and their number."""
    both = [(fmean(scores(study, method, "avg").values()), published_average(method)) for method in methods_of(study)]
    ours, theirs = zip(*((here, there) for here, there in both if there is not None), strict=True)
    return f"{spearmanr(ours, theirs).statistic:.2f} over {len(ours)} methods"


def established_arms(study: str, *, higher: bool, smoothed: bool) -> str:
    """Return the arms of question 5 that are established as higher, or lower, than what they are compared with."""
    found = [
        f"`{row['treated'].removesuffix('-share')}`"
        for row in tests(study)
        if row["established"] == "yes"
        and (float(row["difference"]) > 0) == higher
        and row["treated"].endswith("-share") == smoothed
    ]
    return ", ".join(found) or "none"


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
    if not (RESULTS / study / "runs.jsonl").exists():
        return False
    known = {run_name(row["variant"], row["point"], row["seed"]) for row in runs(study)}
    planned = read_study(RESULTS / f"{study}.yaml")
    return sum(all(run.name in known for run in planned.runs(variants, [seed])) for seed in planned.seeds) > 1


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


# ---- tests of a study --------------------------------------------------------------------------------------------


@cache
def tests(study: str) -> tuple[Mapping[str, str], ...]:
    """Return the tests of a study."""
    lines = (RESULTS / study / "tests.csv").read_text(encoding="utf-8").splitlines()
    return tuple(csv.DictReader(lines))


def test_of(study: str, kind: str, treated: str, control: str, point: Mapping[str, str]) -> Mapping[str, str]:
    """Return the test of a pair of variants at a point of the grid."""
    wanted = {"test": kind, "treated": treated, "control": control} | point
    [row] = [row for row in tests(study) if wanted.items() <= row.items()]
    return row


def tested(row: Mapping[str, str], decimals: int) -> str:
    """Return difference and interval of a test."""
    mean, low, high = (f"{float(row[name]):+.{decimals}f}" for name in ("difference", "low", "high"))
    return f"{mean} [{low}, {high}]"


def differ(study: str, treated: str, control: str, kind: str = "differ", **point: str) -> str:
    """Return difference and 95% interval of a test for a difference, or of an interaction."""
    return tested(test_of(study, kind, treated, control, point), decimals=2)


def same(study: str, treated: str, control: str) -> str:
    """Return difference and 90% interval of a test for equivalence."""
    return tested(test_of(study, "same", treated, control, {}), decimals=3)


def verdict(study: str, kind: str, treated: str, control: str, **point: str) -> str:
    """Return whether a test established its claim, in words."""
    words = {"same": ("the same", "not the same")}.get(kind, ("established", "not established"))
    return words[0] if test_of(study, kind, treated, control, point)["established"] == "yes" else words[1]


def effect(study: str, treated: str, control: str, **point: str) -> str:
    """Return the verb of what a test for a difference established."""
    row = test_of(study, "differ", treated, control, point)
    if row["established"] != "yes":
        return "is not shown to change"
    return "raises" if float(row["difference"]) > 0 else "lowers"


def trend(study: str, variant: str) -> str:
    """Return the verb of what the test of a variant's slope established."""
    row = test_of(study, "slope", variant, "", {})
    if row["established"] != "yes":
        return "is not shown to change"
    return "rises" if float(row["difference"]) > 0 else "falls"


def adjusted_p(study: str, treated: str, control: str) -> str:
    """Return the p-value of a test for a difference after Holm's correction."""
    return f"{float(test_of(study, 'differ', treated, control, {})['adjusted_p']):.2g}"


def pairs(study: str, treated: str, control: str, **point: str) -> str:
    """Return the number of seeds of a test for a difference."""
    return test_of(study, "differ", treated, control, point)["seeds"]


def table(study: str, title: str) -> str:
    """Return the table of ``summary.md`` below the line that starts with ``title``."""
    parts = (RESULTS / study / "summary.md").read_text(encoding="utf-8").strip().split("\n\n")
    [found] = [rows for about, rows in zip(parts[::2], parts[1::2], strict=True) if about.startswith(title)]
    return found


# ---- the adaptation study ----------------------------------------------------------------------------------------


def found(domain: str, arm: str, way: str, encoder: str) -> dict[int, float]:
    """Return the MRR × 100 of each seed of an arm."""
    wanted = (domain, arm, encoder)
    rows = [row for row in runs("adaptation") if (row["domain"], row["arm"], row["encoder"]) == wanted]
    return {row["seed"]: row["mrr"][way] for row in rows}


def arm_seeds(arm: str) -> str:
    """Return the number of seeds of an arm, the smallest over the domains."""
    return str(min(len(found(domain, arm, "cosine", ENCODER)) for domain in DOMAINS))


def gain(
    domain: str, arm: str, over: str = "start", way: str = "cosine", encoder: str = ENCODER, decimals: int = 2
) -> str:
    """Return the MRR of an arm minus that of another with the interval over seeds; the start has one score."""
    treated, control = found(domain, arm, way, encoder), found(domain, over, way, encoder)
    if over == "start":
        control = dict.fromkeys(treated, control[0])
    return difference(treated, control, decimals)


def gains(arm: str, over: str = "start", way: str = "cosine", domains: Sequence[str] = DOMAINS) -> str:
    """Return the mean gain on each domain, over the seeds of the arm."""
    return ", ".join(f"{gain(domain, arm, over, way, decimals=1).split()[0]} on {domain}" for domain in domains)


def cell(page: str, row: str, column: int) -> str:
    """Return a cell of a table of a page of ``docs/results``, whose tables have a test of their own."""
    lines = (RESULTS / page).read_text(encoding="utf-8").splitlines()
    [line] = [line for line in lines if line.startswith(f"| {row} |")]
    return line.strip("| ").split(" | ")[column]


if __name__ == "__main__":
    main()
