"""The pages of the smoothing study with invented runs of questions 2c and 4."""

from __future__ import annotations

import importlib
import random
import re
import runpy
import sys
from dataclasses import replace
from math import log2

import pytest
from scipy import stats

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
TUNED = RESULTS / "smoothing" / "tuned_studies.py"
SECOND, NEIGHBOURS = "smoothing/study-2-mpnet", "smoothing/study-5"
SENTENCES, STEPS = "smoothing/study-3-sentences", "smoothing/study-3-steps"
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
    """The folder of results without the runs of questions 2c to 5, and without the files that a script writes."""
    (tmp_path / "smoothing").mkdir()
    left_out = {RESULTS / RETRIEVAL, RESULTS / OPTIMUM, RESULTS / SECOND, *(RESULTS / "smoothing").glob("study-[35]*")}
    for source in [*RESULTS.iterdir(), *(RESULTS / "smoothing").iterdir()]:
        place = tmp_path / source.relative_to(RESULTS)
        if not place.exists() and source not in left_out:
            place.symlink_to(source)
    return tmp_path


@pytest.fixture
def write_tuned(monkeypatch, results):
    """Invent the tuning of questions 3 and 5, and write their studies."""

    def write(effect):
        monkeypatch.setattr(sys, "argv", [str(TUNED), "--folder", str(results / "smoothing")])
        runpy.run_path(str(TUNED), run_name="__main__")
        for name in (SENTENCES, STEPS, NEIGHBOURS):
            invent(results / f"{name}-tune", effect)
        runpy.run_path(str(TUNED), run_name="__main__")

    return write


@pytest.fixture
def render(monkeypatch, results):
    """Render a template with the runs of a folder."""
    monkeypatch.syspath_prepend(DOCS)
    page = importlib.import_module("results_summary")
    files = importlib.import_module("results_files")
    monkeypatch.setattr(files, "RESULTS", results)

    def write(template):
        files.runs.cache_clear()
        files.tests.cache_clear()
        (results / template).write_text(page.render(template), encoding="utf-8")
        return results / template

    yield write
    files.runs.cache_clear()
    files.tests.cache_clear()


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
        masked = 0.01 if run.config.false_negative_threshold else None
        record = made_record(run, score, score, evaluated=study.evaluate, masked_share=masked)
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


def test_the_second_encoder(results, render):
    invent(results / SECOND, lambda variant, point: 2 * (variant == "share-0.6"))
    check_scores(results / SECOND)
    page = render("smoothing.md")
    assert tables_of(results / SECOND / "summary.md")[1] in tables_of(page)
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert "`share-0.6` has the highest average** for all-mpnet-base-v2" in text
    gained = show(differences(raw_runs(results / SECOND), "share-0.6", "infonce", "avg", {}))
    assert f"of 0.6 {gained} (3 seeds, exploratory)" in text
    invent(results / OPTIMUM, best_at_half)
    assert f"of 0.6 {gained} (n = 3" in " ".join(render("results.md").read_text(encoding="utf-8").split())


def falls_without_smoothing(variant, point):
    """A point for each doubling of the batch is lost, but for a share; the rate 1.2e-4 is best."""
    doublings = log2(point.get("batch_size", 64) / 64)
    return (0 if variant == "share-0.4" else -doublings) - abs(point.get("learning_rate", 1.2e-4) - 1.2e-4) * 1e5


def test_question_3_says_whether_the_score_falls_with_the_batch(results, render, write_tuned):
    write_tuned(falls_without_smoothing)
    invent(results / SENTENCES, falls_without_smoothing)
    page = render("smoothing.md")
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert "with equal sentences, the average of InfoNCE falls with the batch size" in text
    assert "which removes 0.63 at 64, 2.55 at 256, 10.23 at 1,024 likely false negatives per anchor" in text
    assert "Learning rates: 1.2e-4 at 64, 1.2e-4 at 256, 1.2e-4 at 1,024" in text
    assert "24 runs on seed 99 to tune the learning rate and 45 runs with equal sentences, by" in text
    assert "Questions 2c, 4 and 5: not run yet" in text
    assert "ten steps" not in page.read_text(encoding="utf-8").split("## How it was run")[0]
    invent(results / STEPS, lambda variant, point: -falls_without_smoothing(variant, point))
    text = " ".join(render("smoothing.md").read_text(encoding="utf-8").split())
    assert "With equal steps, the average of InfoNCE rises" in text
    for name in (SENTENCES, STEPS):
        check_scores(results / name)
        check_tests(results / name)
        assert shown_tests(results / name / "summary.md").keys() <= shown_tests(page).keys()
    answer = re.search(r"\* \*\*Question 3.*?(?=\* \*\*Question)", text)[0]
    found = {n: again(study_of(results / n), raw_runs(results / n)) for n in (SENTENCES, STEPS)}
    rows = [row for tests in found.values() for row in tests.values()]
    tested = {f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]" for _, mean, low, high, *_ in rows}
    written = re.findall(r"[+-]\d+\.\d\d\s\[[^\]]+\]", answer)
    assert len(written) == 9
    assert set(written) <= tested
    summary_page = " ".join(render("results.md").read_text(encoding="utf-8").split())
    assert "InfoNCE falls from 64 to 1,024" in summary_page
    assert "With ten steps at every size, InfoNCE rises" in summary_page


def sncse_is_best(variant, point):
    """SNCSE exceeds SimCSE, DebCSE does not reach it; a share raises SimCSE and lowers DebCSE."""
    return {"sncse": 3, "sncse-share": 3, "simcse-share": 4, "debcse": -3, "debcse-share": -9}.get(variant, 0)


def test_question_5_names_the_methods_that_are_established(results, render, write_tuned):
    write_tuned(falls_without_smoothing)
    invent(results / NEIGHBOURS, sncse_is_best)
    check_scores(results / NEIGHBOURS)
    check_tests(results / NEIGHBOURS)
    page = render("smoothing.md")
    text = " ".join(page.read_text(encoding="utf-8").split())
    assert "Question 5: above SimCSE: `sncse`; below: `debcse`**" in text
    assert "A share of 0.6 raises the average of `simcse`, and lowers that of `debcse`" in text
    rows = raw_runs(results / NEIGHBOURS)
    [(_, *lines)] = [table for table in tables_of(page) if table[0][0] == "method"]
    published = {"sncse": "78.97", "simcse": "76.25", "debcse": "80.33", "simcse++": "", "arccon": ""}
    averages = []
    for name, known, average, over, smoothed, gained in lines:
        method = name.strip("`")
        assert known == published.get(method, known)
        averages.append(by_seed(rows, method, "avg", {}).values())
        assert average == show_score(list(averages[-1]))
        assert smoothed == show_score(list(by_seed(rows, f"{method}-share", "avg", {}).values()))
        assert over == ("" if method == "simcse" else show(differences(rows, method, "simcse", "avg", {})))
        assert gained == show(differences(rows, f"{method}-share", method, "avg", {}))
    assert [sum(values) for values in averages] == sorted(map(sum, averages), reverse=True)
    both = [(sum(values), float(line[1])) for values, line in zip(averages, lines, strict=True) if line[1]]
    assert f"is {stats.spearmanr(both).statistic:.2f} over {len(both)} methods" in text
    assert "Established above SimCSE" in render("results.md").read_text(encoding="utf-8")


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
    assert "questions 2c, 3 and 5, as the time" in text
