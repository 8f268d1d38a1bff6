"""Write the summary of all results and the page of the smoothing study from their runs.

    python docs/results_summary.py            # both pages, and the figure of the adaptation study
    python docs/results_summary.py --check    # exit with 1 if a page differs from its runs

The sentences are in ``docs/templates``; every figure in them comes from a function of :data:`FIGURES`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from results_adaptation import DOMAINS, ENCODER, arm_seeds, cell, gain, gains
from results_figure import plot_gains
from results_files import RESULTS, runs
from results_methods import established_arms, neighbours, rank_correlation
from results_runs import (
    between,
    count,
    has_run,
    highest,
    masked_per_anchor,
    paired,
    ran_on,
    rates,
    score,
    scores_by_point,
    sd5,
    seeds,
    share,
    spread,
    start,
    table,
)
from results_tests import adjusted_p, differ, effect, pairs, same, trend, verdict

PAGES = {"results.md": RESULTS / "README.md", "smoothing.md": RESULTS / "smoothing" / "README.md"}
"""Page of each template."""

FIGURES = (
    *(between, count, has_run, highest, masked_per_anchor, paired, ran_on, rates, score, scores_by_point),
    *(sd5, seeds, share, spread, start, table),
    *(adjusted_p, differ, effect, pairs, same, trend, verdict),
    *(established_arms, neighbours, rank_correlation),
    *(arm_seeds, cell, gain, gains),
)
"""Functions that a template may call: of runs, of tests, of question 5 and of the adaptation study."""


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
    loader = FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False
    )
    return environment.get_template(name).render({function.__name__: function for function in FIGURES})


if __name__ == "__main__":
    main()
