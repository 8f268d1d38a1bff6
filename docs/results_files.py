"""Files of the studies in ``docs/results``: plans, runs, tests and pages."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from smoothcse.experiments.study import Study, read_study

RESULTS = Path(__file__).parent / "results"

Run = Mapping[str, Any]


def planned(study: str) -> Study:
    """Return the study of a folder of ``docs/results``."""
    return read_study(RESULTS / f"{study}.yaml")


def have_run(study: str) -> bool:
    """Return whether a study has runs."""
    return (RESULTS / study / "runs.jsonl").exists()


def page(file: str) -> str:
    """Return the text of a page of ``docs/results``."""
    return (RESULTS / file).read_text(encoding="utf-8")


@cache
def runs(study: str) -> tuple[Run, ...]:
    """Return the runs of a folder of ``docs/results`` that did not fail, in the order of their seeds."""
    lines = (RESULTS / study / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "failed" not in row]
    return tuple(sorted(rows, key=lambda row: row["seed"]))


@cache
def tests(study: str) -> tuple[Mapping[str, str], ...]:
    """Return the tests of a study."""
    lines = (RESULTS / study / "tests.csv").read_text(encoding="utf-8").splitlines()
    return tuple(csv.DictReader(lines))
