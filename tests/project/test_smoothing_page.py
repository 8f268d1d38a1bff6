"""The pages of the smoothing study with invented runs of questions 2c and 4."""

from __future__ import annotations

import importlib
import random
import re
from dataclasses import replace

import pytest

from repository import REPOSITORY
from smoothcse.evaluation.sts_tasks import SEVEN_STS
from smoothcse.experiments import summary
from smoothcse.experiments.run_records import append_record
from smoothcse.experiments.study import read_study
from study_records import made_record
from tables_again import (
    again,
    by_seed,
    check_scores,
    check_tests,
    differences,
    raw_runs,
    show,
    show_score,
    shown_tests,
    study_of,
    tables_of,
)

DOCS = REPOSITORY / "docs"
RESULTS = DOCS / "results"
RETRIEVAL, OPTIMUM = "smoothing/study-4", "smoothing/study-2-optimum"
PAGES = {"smoothing.md": RESULTS / "smoothing" / "README.md", "results.md": RESULTS / "README.md"}
ENVIRONMENT = {
    "started": "2026-11-28T05:00:00+00:00",
    "hardware": "cpu (1 threads, x86_64), bf16",
    "versions": {"torch": "2.13.0"},
    "git_commit": "0123abc",
}


@pytest.fixture(autouse=True)
def without_plots(monkeypatch):
    monkeypatch.setattr(summary, "_plot", lambda *_: None)


@pytest.fixture
def results(tmp_path):
    """The folder of results without the runs of questions 2c and 4."""
    (tmp_path / "smoothing").mkdir()
    for source in [*RESULTS.iterdir(), *(RESULTS / "smoothing").iterdir()]:
        place = tmp_path / source.relative_to(RESULTS)
        if not place.exists() and source not in (RESULTS / RETRIEVAL, RESULTS / OPTIMUM):
            place.symlink_to(source)
    return tmp_path


@pytest.fixture
def render(monkeypatch, results):
    """Render a template with the runs of a folder."""
    monkeypatch.syspath_prepend(DOCS)
    page = importlib.import_module("results_summary")
    monkeypatch.setattr(page, "RESULTS", results)

    def write(template):
        page.runs.cache_clear()
        page.tests.cache_clear()
        (results / template).write_text(page.render(template), encoding="utf-8")
        return results / template

    yield write
    page.runs.cache_clear()
    page.tests.cache_clear()


def invent(folder, effect, runs=None):
    """Write what a study would have written after its first runs.

    Args:
        folder: Folder of the study's results.
        effect: What a variant adds to the score at a point.
        runs: Number of runs so far; None for all.
    """
    study, drawn = read_study(folder.with_suffix(".yaml")), random.Random(0)
    folder.mkdir()
    records = []
    for run in study.runs()[:runs]:
        score = 80 + effect(run.variant, run.point) + drawn.gauss(0, 0.1)
        record = made_record(run, score, score, evaluated=study.evaluate)
        if study.evaluate:
            tasks = {task: score + drawn.gauss(0, 0.1) for task in SEVEN_STS}
            record = replace(record, sts={**tasks, "avg": sum(tasks.values()) / 7})
        records.append(replace(record, environment=ENVIRONMENT))
        append_record(folder / "runs.jsonl", records[-1])
    summary.write_summary(study, records, folder)


def lost_with_crops(variant, point):
    return -4 if variant == "share-0.4" and point["views"] == "crops" else 0


def best_at_half(variant, point):
    return {"share-0.4": 0.5, "share-0.5": 1.0, "share-0.6": 0.5}.get(variant, 0)


def test_before_two_seeds_have_run_the_pages_stay_as_they_are(results, render):
    for template in PAGES:
        before = render(template).read_text(encoding="utf-8")
        if not (RESULTS / RETRIEVAL).exists() and not (RESULTS / OPTIMUM).exists():
            assert before == PAGES[template].read_text(encoding="utf-8")
        assert "not run yet" in before
    invent(results / RETRIEVAL, lost_with_crops, runs=20)  # the second seed lacks share-0.4 with dropout
    assert render("results.md").read_text(encoding="utf-8") == before


def test_the_page_shows_the_runs_so_far(results, render):
    invent(results / RETRIEVAL, lost_with_crops, runs=3 * 12 + 3)
    invent(results / OPTIMUM, best_at_half, runs=2 * 9)
    for name in (RETRIEVAL, OPTIMUM):
        check_scores(results / name)
    check_tests(results / RETRIEVAL)
    page = render("smoothing.md")
    text = page.read_text(encoding="utf-8")
    assert "a share of 0.4 lowers the MRR with crops of documents, and is not shown to change it with dropout" in text
    assert "agrees with this" in text
    assert "`share-0.5` has the highest average" in text
    assert "Questions 3 and 5: not run yet" in text
    assert "questions 3 and 5, as the time" in text
    assert "(2026-11-28, cpu (1 threads, x86_64), bf16, torch 2.13.0, revision 0123abc; [study-4.yaml]" in text
    assert "lowers the MRR on debian" in render("results.md").read_text(encoding="utf-8")


def test_the_table_of_views_again(results, render):
    invent(results / RETRIEVAL, lost_with_crops, runs=3 * 12 + 3)
    rows = raw_runs(results / RETRIEVAL)
    [table] = [table for table in tables_of(render("smoothing.md")) if table[0] == ["variant", "crops", "dropout"]]
    assert table[1] == ["start", "70.00", "70.00"]
    assert [line[0] for line in table[2:]] == [f"`{name}`" for name in study_of(results / RETRIEVAL)["variants"]]
    for name, *cells in table[2:]:
        for views, cell in zip(("crops", "dropout"), cells, strict=True):
            values = list(by_seed(rows, name.strip("`"), "last", {"views": views}).values())
            assert cell == f"{show_score(values)} ({len(values)})"
    assert "(4)" in table[2][1]
    assert "(3)" in table[2][2]


def test_the_tables_of_tests_and_of_tasks_are_on_the_page(results, render):
    invent(results / RETRIEVAL, lost_with_crops)
    invent(results / OPTIMUM, best_at_half)
    page = render("smoothing.md")
    for name in (RETRIEVAL, OPTIMUM):
        written = tables_of(results / name / "summary.md")
        assert written[1] in tables_of(page)  # the tests of one study, the seven tasks of the other
    assert shown_tests(results / RETRIEVAL / "summary.md").items() <= shown_tests(page).items()


def test_each_figure_with_an_interval_in_the_answers_is_of_the_runs(results, render):
    invent(results / RETRIEVAL, lost_with_crops)
    invent(results / OPTIMUM, best_at_half)
    text = render("smoothing.md").read_text(encoding="utf-8")
    retrieval, optimum = (raw_runs(results / name) for name in (RETRIEVAL, OPTIMUM))
    found = again(study_of(results / RETRIEVAL), retrieval)
    tested = {f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]" for _, mean, low, high, *_ in found.values()}
    arms = {row["variant"] for row in optimum}
    paired = {show(differences(optimum, a, b, "avg", {})) for a in arms for b in arms if a != b}
    for question, known in (("2c, exploratory", paired), ("4: a share", tested)):
        [answer] = re.findall(rf"^\* \*\*Question {question}.*?(?=^\* )", text, re.MULTILINE | re.DOTALL)
        written = re.findall(r"[+-]\d+\.\d\d\s\[[^\]]+\]", answer)
        assert len(written) >= 4
        assert [figure for figure in written if figure not in known] == []


@pytest.mark.parametrize(
    ("crops", "dropout", "said"),
    [
        (4, 0, "a share of 0.4 raises the MRR with crops of documents, and is not shown to change it"),
        (-4, -4, "a share of 0.4 lowers the MRR with crops of documents, and lowers it with dropout"),
        (0, 4, "a share of 0.4 is not shown to change the MRR with crops of documents, and raises it with dropout"),
    ],
)
def test_the_answer_follows_from_the_tests(crops, dropout, said, results, render):
    effects = {"crops": crops, "dropout": dropout}
    invent(results / RETRIEVAL, lambda variant, point: effects[point["views"]] * (variant == "share-0.4"))
    text = " ".join(render("smoothing.md").read_text(encoding="utf-8").split())
    assert said in text
    verdict = "is refuted" if crops > 0 or dropout < 0 else "is not established"
    assert f"lower with crops and not lower with dropout, {verdict}." in text
    assert "Question 4, smoothing with crops on documents: its own runs are not run yet" not in text
