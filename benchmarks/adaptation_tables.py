"""Print the tables of the adaptation study, in Markdown, from the results of ``adaptation.py``.

The first tables compare the arms with one of them on the labelled queries: mean ± sd over seeds, the paired difference
over seeds with its 95% t interval, and the 95% paired bootstrap interval over queries of the mean reciprocal ranks
over seeds. The last one says how well criteria without labels order the runs of a domain and encoder.

    python benchmarks/adaptation_tables.py RESULTS.jsonl [--against start] [--page README.md]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from adaptation import ARMS, Row, ranks_file, read_rows
from adaptation_arms import UNTRAINED
from adaptation_domain import WAYS
from numpy.typing import NDArray
from page import with_table
from scipy.stats import spearmanr

from smoothcse.experiments.statistics import paired_bootstrap, paired_difference, show_mean_sd

LABELS = {"cosine": "alone", "fused": "fused"}
Criterion = Callable[[Row], float]
CRITERIA: dict[str, Criterion] = {
    "probe, alone": lambda row: row["probe"]["cosine"],
    "probe, fused": lambda row: row["probe"]["fused"],
    "-(alignment + uniformity)": lambda row: -row["geometry"]["alignment"] - row["geometry"]["uniformity"],
}
RESAMPLES = 2_000
"""Samples of a bootstrap; with 10,000 the tables take a minute, and few last digits change."""

LEAST_RUNS = 10
"""Runs of a domain and encoder from which on the criteria are judged by them; three runs have a correlation of 0.5 by
chance."""
Group = tuple[str, str, int]


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="file of results")
    parser.add_argument("--against", default="start", choices=ARMS, metavar="ARM", help="arm to compare with [start]")
    parser.add_argument("--page", type=Path, help="page whose tables to replace, between <!-- tables --> marks")
    arguments = parser.parse_args()
    text = tables(arguments.results, arguments.against)
    if arguments.page is None:
        print(text)
        return
    page = with_table(arguments.page.read_text(encoding="utf-8"), "tables", text)
    arguments.page.write_text(page, encoding="utf-8")


def tables(results: Path, against: str) -> str:
    """Return all tables in Markdown, each under its heading."""
    rows = read_rows(results)
    groups = by(("domain", "encoder", "planned_steps"), rows)
    parts = [
        f"### {domain}, {encoder}, {steps} steps\n\n{arm_table(results, members, against)}\n"
        for (domain, encoder, steps), members in groups.items()
    ]
    compared = criteria_table(list(by(("domain", "encoder"), rows).values()))
    return "".join([*parts, f"### Criteria without labels\n\n{compared}\n"])


def by(names: Sequence[str], rows: Iterable[Row]) -> dict[Any, list[Row]]:
    """Group rows by some fields."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in names)].append(row)
    return groups


def succeeded(rows: Iterable[Row]) -> list[Row]:
    """Return the rows of runs that did not fail."""
    return [row for row in rows if "failed" not in row]


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown, with numbers to the right of a first column of names."""
    lines = [headings, ["---", *["--:"] * (len(headings) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# ---- arms ------------------------------------------------------------------------------------------------------


def arm_table(results: Path, rows: list[Row], against: str) -> str:
    """Return the table of one domain and encoder."""
    arms = by(("arm",), rows)
    control = succeeded(arms.get((against,), []))
    headings = ["arm", "n"]
    for label in LABELS.values():
        headings += [f"MRR {label}", f"- {against}, over seeds", f"- {against}, over queries"]
    headings += ["STS", "seconds", "steps", "peak MB"]
    lines = [bm25_line(rows, len(headings))]
    for arm in ARMS:
        if (arm,) in arms:
            lines.append(arm_line(results, arm, arms[(arm,)], control))
    return markdown(headings, lines)


def bm25_line(rows: list[Row], cells: int) -> list[str]:
    """Return the line of BM25, which is the same in all runs."""
    scores = [row["mrr"]["bm25"] for row in succeeded(rows)]
    return ["BM25", "", f"{scores[0]:.2f}" if scores else "", *[""] * (cells - 3)]


def arm_line(results: Path, arm: str, rows: list[Row], control: list[Row]) -> list[str]:
    """Return the line of an arm."""
    good = sorted(succeeded(rows), key=lambda row: row["seed"])
    cells = [arm, str(len(good))]
    if not good:
        return [arm, "0", f"failed: {rows[0]['failed'].splitlines()[0][:80]}".replace("|", "/"), *[""] * 9]
    for way in LABELS:
        cells += [show_mean_sd([row["mrr"][way] for row in good]), *differences(results, good, control, way)]
    sts = [row["sts"] for row in good if row["sts"] is not None]
    memory = [row["peak_memory_mb"] for row in good if row["peak_memory_mb"] is not None]
    return [
        *cells,
        show_mean_sd(sts) if sts else "",
        f"{fmean(row['seconds'] for row in good):.0f}",
        f"{median(row['steps'] for row in good):.0f}",
        f"{max(memory):.0f}" if memory else "",
    ]


def differences(results: Path, treated: list[Row], control: list[Row], way: str) -> list[str]:
    """Return the differences to the control over seeds and over queries; empty for the control itself."""
    known = {row["seed"]: row for row in control}
    if control and control[0]["arm"] in UNTRAINED:
        known = {row["seed"]: control[0] for row in treated}
    pairs = [(row, known[row["seed"]]) for row in treated if row["seed"] in known]
    if not pairs or pairs[0][0]["arm"] == pairs[0][1]["arm"]:
        return ["", ""]
    ours, theirs = zip(*pairs, strict=True)
    over_seeds = paired_difference([row["mrr"][way] for row in ours], [row["mrr"][way] for row in theirs])
    over_queries = paired_bootstrap(
        mean_ranks(results, ours, way), mean_ranks(results, theirs, way), resamples=RESAMPLES
    )
    return [str(over_seeds), str(over_queries)]


def mean_ranks(results: Path, rows: Sequence[Row], way: str) -> Any:
    """Return the reciprocal rank x 100 of each query, mean over runs."""
    found = []
    for row in rows:
        with np.load(ranks_file(results, row)) as ranks:
            found.append(100 * ranks[way].astype(np.float64))
    return np.mean(found, axis=0)


# ---- criteria without labels ------------------------------------------------------------------------------------


def criteria_table(groups: Sequence[list[Row]]) -> str:
    """Return rank correlation and regret of each criterion, for the MRR alone and fused."""
    groups = [good for rows in groups if len(good := succeeded(rows)) >= LEAST_RUNS]
    runs = sum(map(len, groups))
    headings = ["criterion"]
    for label in LABELS.values():
        headings += [f"ρ with MRR {label}: mean of groups (least)", "pooled"]
        headings += ["regret: mean (most)", "of the arm: mean (most)"]
    lines = [[name, *(cell for way in WAYS for cell in judged(groups, of, way))] for name, of in CRITERIA.items()]
    note = (
        f"{runs} runs in {len(groups)} groups of one domain and encoder. ρ is Spearman's; pooled: over all runs, each "
        "minus the median of its group. Regret: MRR of the group's best run minus that of the run with the best "
        "criterion; of the arm: the same for the means of the arms over their seeds, as a user chooses among settings "
        "and not among seeds.\n"
    )
    return f"{markdown(headings, lines)}\n{note}"


def judged(groups: Sequence[list[Row]], criterion: Criterion, way: str) -> list[str]:
    """Return correlation within the groups, correlation of all runs, and regret, each as a cell."""
    if not groups:
        return [""] * 4
    scored = [scores(rows, criterion, way) for rows in groups]
    within = [float(spearmanr(*pair).statistic) for pair in scored]
    centred = [np.concatenate([values - np.median(values) for values in side]) for side in zip(*scored, strict=True)]
    return [
        f"{fmean(within):.3f} ({min(within):.3f})",
        f"{float(spearmanr(*centred).statistic):.3f}",
        show_regrets(scored),
        show_regrets([mean_scores(rows, criterion, way) for rows in groups]),
    ]


Scores = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Criterion and MRR of each run, or of each arm."""


def scores(rows: Sequence[Row], criterion: Criterion, way: str) -> Scores:
    """Return the scores of each run."""
    return np.array([criterion(row) for row in rows]), np.array([row["mrr"][way] for row in rows])


def mean_scores(rows: Sequence[Row], criterion: Criterion, way: str) -> Scores:
    """Return the scores of each arm, mean over its seeds."""
    arms = [scores(members, criterion, way) for members in by(("arm",), rows).values()]
    return np.array([guess.mean() for guess, _ in arms]), np.array([true.mean() for _, true in arms])


def show_regrets(groups: Sequence[Scores]) -> str:
    """Return mean and largest regret over the groups."""
    regrets = [float(true.max() - true[np.argmax(guess)]) for guess, true in groups]
    return f"{fmean(regrets):.2f} ({max(regrets):.2f})"


if __name__ == "__main__":
    main()
