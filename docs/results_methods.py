"""Figures of question 5 of the smoothing study, which compares methods, for the templates of the pages."""

from __future__ import annotations

from statistics import fmean

from results_files import planned, tests
from results_runs import score, scores
from results_tests import differ
from scipy.stats import spearmanr

from smoothcse.evaluation.published import is_system, published_results


def neighbours(study: str) -> str:
    """Return a table of the methods of question 5, with and without smoothing, beside their published averages."""
    headings = ("method", "published", "average", "minus SimCSE", "with a share of 0.6", "minus without")
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
    arms = [arm for arm in planned(study).variants if not arm.endswith("-share")]
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
