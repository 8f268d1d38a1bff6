"""The pages of the results show what was run, and their tables are computed again from the raw runs."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from repository import REPOSITORY
from tables_again import (
    again,
    by_seed,
    check_scores,
    check_tests,
    differences,
    raw_runs,
    show,
    show_score,
    study_of,
)

RESULTS = REPOSITORY / "docs" / "results"
SCRIPT = REPOSITORY / "docs" / "results_summary.py"
SMOOTHING = RESULTS / "smoothing" / "study-2"
SECOND = SMOOTHING.with_name("study-2-mpnet")
OPTIMUM = SMOOTHING.with_name("study-2-optimum")
SETTLED = [folder for folder in sorted(SMOOTHING.parent.glob("study-*")) if (folder / "summary.md").exists()]
SMALL = ("noise", "calibrated", "calibrated-grid", "calibrated-width", "batch-size", "methods")


@pytest.fixture
def check(monkeypatch):
    """Run ``results_summary.py --check``; its message, or 0."""
    monkeypatch.syspath_prepend(SCRIPT.parent)
    files = importlib.import_module("results_files")

    def run(*, changed: str | None = None) -> object:
        forget()
        if changed:
            read = Path.read_text
            monkeypatch.setattr(Path, "read_text", lambda file, **kw: read(file, **kw).replace(*changed.split("->")))
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check"])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return left.value.code

    def forget():
        files.runs.cache_clear()
        files.tests.cache_clear()

    yield run
    forget()


def test_the_pages_are_those_of_the_runs(check):
    assert check() == 0


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("gs,infonce,10,0.10257868954958979->gs,infonce,10,0.11257868954958979", "smoothing"),
        ('"last": 81.2366044608243->"last": 82.2366044608243', "results/README.md"),
    ],
    ids=["a test", "a run"],
)
def test_a_figure_that_differs_makes_its_pages_stale(changed, stale, check):
    assert stale in check(changed=changed)


# ---- the tables again, from the raw runs ------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [RESULTS / name for name in SMALL] + SETTLED, ids=lambda folder: folder.name)
def test_the_tables_of_scores_again(folder):
    check_scores(folder)


@pytest.mark.parametrize(
    "folder", [folder for folder in SETTLED if "tests" in study_of(folder)], ids=lambda folder: folder.name
)
def test_the_tests_again(folder):
    check_tests(folder)


def test_the_smoothing_study_has_all_its_runs():
    rows = raw_runs(SMOOTHING)
    assert len(rows) == 80
    for row in rows:
        tasks = [score for task, score in row["sts"].items() if task != "avg"]
        assert len(tasks) == 7
        assert row["sts"]["avg"] == pytest.approx(sum(tasks) / 7)


@pytest.mark.parametrize("name", SMALL)
def test_the_figures_with_an_interval_on_a_page_are_of_its_runs(name):
    rows = raw_runs(RESULTS / name)
    known = known_figures(rows)
    text = (RESULTS / name / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\([^()]*there[^()]*\)", "", text)  # of another study
    written = re.findall(r"\d+\.\d\d ± \d+\.\d\d|[+-]\d+\.\d\d \[[^\]]+\]", text)
    assert len(written) >= 4
    assert [figure for figure in written if figure not in known] == []


def known_figures(rows):
    """Mean ± sd of all variants, and differences of all pairs of them, by each measure."""
    points = {json.dumps(row["point"]): row["point"] for row in rows}
    variants = {row["variant"] for row in rows}
    measures = ["last", "best", *(["avg"] if rows[0].get("sts") else [])]
    known = set()
    for point in points.values():
        for measure in measures:
            scores = defaultdict(list)
            for variant in variants:
                scores[variant] = list(by_seed(rows, variant, measure, point).values())
                known |= {show_score(scores[variant])}
                known |= {
                    show(differences(rows, variant, other, measure, point)) for other in variants if other != variant
                }
    return known


def test_the_report_has_the_figures_of_the_runs(tmp_path, monkeypatch):
    pytest.importorskip("typst", reason="needs the extra 'paper'")
    pypdf = pytest.importorskip("pypdf", reason="needs the extra 'documents'")
    script, file = REPOSITORY / "docs" / "paper" / "build.py", tmp_path / "new" / "smoothing.pdf"
    monkeypatch.setattr(sys, "argv", [str(script), str(file)])
    runpy.run_path(str(script), run_name="__main__")
    pages = pypdf.PdfReader(file).pages
    text = "".join("".join(page.extract_text() for page in pages).split()).replace("−", "-")
    assert len(pages) >= 4
    for key, (_, mean, low, high, *_) in again(study_of(SMOOTHING), raw_runs(SMOOTHING)).items():
        assert f"{mean:+.3f}[{low:+.3f},{high:+.3f}]" in text, key
    for variant in study_of(SMOOTHING)["variants"]:
        assert show_score(list(by_seed(raw_runs(SMOOTHING), variant, "avg", {}).values())).replace(" ", "") in text
    for folder, variants in (
        (OPTIMUM, ("share-0.6", "share-0.7", "published-ratio")),
        (SECOND, ("gs", "share-0.4", "share-0.6")),
    ):
        for variant in variants:
            gained = show(differences(raw_runs(folder), variant, "infonce", "avg", {}))
            assert gained.replace(" ", "") in text, variant
