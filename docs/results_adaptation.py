"""Figures of the adaptation study, for the templates of the pages."""

from __future__ import annotations

from collections.abc import Sequence

from results_files import page, runs
from results_runs import difference

DOMAINS = ("python-docs", "manpages", "debian")
ENCODER = "packaged-minilm"


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


def cell(file: str, row: str, column: int) -> str:
    """Return a cell of a table of a page of ``docs/results``, whose tables have a test of their own."""
    lines = page(file).splitlines()
    [line] = [line for line in lines if line.startswith(f"| {row} |")]
    return line.strip("| ").split(" | ")[column]
