"""The tests of a study: each agrees with scipy and loops over the raw runs, and the family with Holm's definition."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console
from scipy.stats import t, ttest_1samp, ttest_rel

from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.comparisons import compare, comparison_tables
from smoothcse.experiments.study_plots import plot_grid
from smoothcse.experiments.summary import write_summary
from study_records import made_record, made_study

TESTS = {
    "score": "last",
    "differ": [["gs", "plain"], ["share", "plain"], ["share", "gs"]],
    "same": [["share", "gs"], ["gs", "plain"]],
    "margin": 0.4,
    "interact": [["share", "plain"]],
}


def study_of(folder, tests, **changes):
    return made_study(folder, **{"grid": {"batch_size": [32, 64]}, "tests": tests, **changes})


def records_of(study, seeds=(0, 1, 2, 3)):
    """A record of each run, with scores of which some pairs differ and others do not."""
    draws, found = np.random.default_rng(5), []
    for run in study.runs():
        gain = {"plain": 0.0, "gs": 0.02, "share": 2.0 if run.point.get("batch_size") == 32 else 0.1}[run.variant]
        scores = 80 + 3 * run.seed + gain + draws.normal(0, 0.15, 3)
        found.append(made_record(run, *scores, evaluated=study.evaluate))
    return [record for record in found if record.seed in seeds]


def scores(records, variant, batch_size, read=lambda record: record.last):
    return np.array([read(r) for r in records if (r.variant, r.point["batch_size"]) == (variant, batch_size)])


def holm_by_definition(p_values):
    """Reject step by step: the adjusted p is the smallest level at which the procedure gets as far as this test."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, reached = [0.0] * len(p_values), 0.0
    for passed, place in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - passed) * p_values[place]))
        adjusted[place] = reached
    return adjusted


def test_differences_and_interactions_are_one_family(tmp_path):
    study = study_of(tmp_path, TESTS)
    records = records_of(study)
    found = [row for row in compare(study, records) if row.key != "same"]
    expected = [(name, n) for n in (32, 64) for name in TESTS["differ"]]
    sides = [(scores(records, a, n), scores(records, b, n)) for (a, b), n in expected]
    sides.append(tuple(scores(records, "share", n) - scores(records, "plain", n) for n in (64, 32)))
    assert [(row.key, row.name, row.point["batch_size"]) for row in found] == [
        *(("differ", f"{a} - {b}", n) for (a, b), n in expected),
        ("interact", "share - plain", "64 - 32"),
    ]
    tested = [ttest_rel(*pair) for pair in sides]
    for row, (treated, control), test in zip(found, sides, tested, strict=True):
        interval = test.confidence_interval(0.95)
        assert (row.difference.mean, row.difference.n) == (pytest.approx((treated - control).mean()), 4)
        assert (row.difference.low, row.difference.high) == pytest.approx((interval.low, interval.high))
    assert [row.p for row in found] == pytest.approx([float(test.pvalue) for test in tested])
    adjusted = holm_by_definition([float(test.pvalue) for test in tested])
    assert [row.adjusted_p for row in found] == pytest.approx(adjusted)
    assert [row.established for row in found] == [p <= 0.05 for p in adjusted]
    assert {row.established for row in found} == {True, False}


def test_pairs_are_the_same_where_both_one_sided_tests_say_so(tmp_path):
    study = study_of(tmp_path, TESTS)
    records = records_of(study)
    found = [row for row in compare(study, records) if row.key == "same"]
    assert [(row.name, row.point["batch_size"]) for row in found] == [
        (f"{a} - {b}", n) for n in (32, 64) for a, b in TESTS["same"]
    ]
    for row in found:
        treated, control = (scores(records, name, row.point["batch_size"]) for name in (row.treated, row.control))
        gaps = treated - control
        error = gaps.std(ddof=1) / 2
        p = max(t.sf((gaps.mean() + 0.4) / error, 3), t.cdf((gaps.mean() - 0.4) / error, 3))
        assert row.p == pytest.approx(p)
        assert row.established == (p < 0.05)
        assert row.difference.high == pytest.approx(gaps.mean() + t.ppf(0.95, 3) * error)
        assert row.adjusted_p is None
    assert {row.established for row in found} == {True, False}


def test_slopes_are_those_of_lines_over_the_logarithm(tmp_path):
    """Each seed has a line over log2 of the batch size; slopes are compared with 0, or with each other."""
    sizes = [32, 64, 256]
    tests = {"differ": [["gs", "plain"]], "slope": [["plain"], ["gs", "plain"]]}
    study = study_of(tmp_path, tests, grid={"batch_size": sizes})
    records = [
        r if r.variant == "gs" else replace(r, last=r.last - 0.5 * np.log2(r.point["batch_size"]))
        for r in records_of(study)
    ]
    found = [row for row in compare(study, records) if row.key == "slope"]
    x = np.log2(sizes)
    plain, gs = (
        np.array([np.polyfit(x, row, 1)[0] for row in np.array([scores(records, name, n) for n in sizes]).T])
        for name in ("plain", "gs")
    )
    assert [(row.name, row.control, row.point["batch_size"]) for row in found] == [
        ("plain", "", "slope per doubling"),
        ("gs - plain", "plain", "slope per doubling"),
    ]
    for row, slopes in zip(found, (plain, gs - plain), strict=True):
        interval = ttest_1samp(slopes, 0).confidence_interval(0.95)
        assert row.difference.mean == pytest.approx(slopes.mean())
        assert (row.difference.low, row.difference.high) == pytest.approx((interval.low, interval.high))
        assert row.p == pytest.approx(ttest_1samp(slopes, 0).pvalue)
    every = [row.p for row in compare(study, records)]
    assert [row.adjusted_p for row in compare(study, records)] == pytest.approx(holm_by_definition(every))
    assert len(every) == study.tests.family_size(3) == 5
    assert [r.difference.n for r in compare(study, records[:-1]) if r.key == "slope"] == [4, 4]  # of share
    assert [r.difference.n for r in compare(study, records[:-2]) if r.key == "slope"] == [4, 3]


@pytest.mark.parametrize(
    ("score", "read"),
    [
        ("last", lambda r: r.last),
        ("best", lambda r: r.best),
        ("sts", lambda r: r.sts["avg"]),
        (None, lambda r: r.sts["avg"]),
    ],
)
def test_the_score_is_that_of_the_file_and_each_variant_is_compared_with_the_control(tmp_path, score, read):
    study = study_of(tmp_path, {"score": score} if score else {}, evaluate={"data": "sts"})
    records = records_of(study)
    found = compare(study, records)
    assert [(row.name, row.point["batch_size"]) for row in found] == [
        (f"{name} - plain", n) for n in (32, 64) for name in ("gs", "share")
    ]
    assert [row.difference.mean for row in found] == pytest.approx(
        [
            (scores(records, name, n, read) - scores(records, "plain", n, read)).mean()
            for n in (32, 64)
            for name in ("gs", "share")
        ]
    )


def test_an_unfinished_study_is_corrected_like_a_finished_one(tmp_path):
    """Only two seeds of the first point, and one of the second, whose tests have no p yet."""
    study = study_of(tmp_path, TESTS)
    records = [r for r in records_of(study, seeds=(0, 1)) if r.point["batch_size"] == 32 or r.seed == 0]
    found = {(row.key, row.name, row.point["batch_size"]): row for row in compare(study, records)}
    known = [float(ttest_rel(*(scores(records, name, 32) for name in pair)).pvalue) for pair in TESTS["differ"]]
    rows = [found["differ", f"{a} - {b}", 32] for a, b in TESTS["differ"]]
    assert [row.p for row in rows] == pytest.approx(known)
    assert [row.adjusted_p for row in rows] == pytest.approx(holm_by_definition([*known, 1.0, 1.0, 1.0, 1.0])[:3])
    for key in (("differ", "share - plain", 64), ("interact", "share - plain", "64 - 32"), ("same", "share - gs", 64)):
        row = found[key]
        assert (row.difference.n, row.p, row.adjusted_p, row.established) == (1, None, None, False)
    assert compare(study, [r for r in records if r.variant == "plain"]) == []


def test_a_seed_that_one_side_lacks_is_left_out(tmp_path):
    study = study_of(tmp_path, TESTS)
    records = [r for r in records_of(study) if (r.variant, r.seed) != ("gs", 2)]
    row = compare(study, records)[0]
    kept = [r for r in records if r.seed != 2]
    assert row.difference.n == 3
    assert row.p == pytest.approx(ttest_rel(scores(kept, "gs", 32), scores(kept, "plain", 32)).pvalue)


def test_equal_scores_have_p_1(tmp_path):
    study = study_of(tmp_path, {"differ": [["gs", "plain"]], "same": [["gs", "plain"]]}, grid={})
    different, same = compare(study, [made_record(run, 80 + run.seed) for run in study.runs()])
    assert (different.p, different.established) == (1.0, False)
    assert (same.p, same.established) == (0.0, True)


def test_tables_file_and_plot_have_all_tests(tmp_path):
    study = study_of(tmp_path, TESTS)
    records = records_of(study)
    console = Console(record=True, file=io.StringIO(), width=200)
    write_summary(study, records, tmp_path, console=console)
    found = compare(study, records)
    (first, headings, differences), (second, _, equivalences) = comparison_tables(study, found)
    assert "dev score after the last step" in first
    assert "Holm's correction for 7 at 5%" in first
    assert (len(differences), len(equivalences)) == (7, 4)
    row = dict(zip(headings, differences[1], strict=True))
    assert row["comparison"] == "share - plain"
    assert row["difference [95%]"] == found[1].difference.words(3)
    assert (row["p (Holm)"], row["established"]) == (f"{found[1].adjusted_p:.2g}", "yes")
    summary, said = (tmp_path / "summary.md").read_text(), console.export_text()
    for title in (first, second):
        assert title in summary
        assert title[:40] in said
    assert "| batch_size | comparison | seeds | difference [90%] | p | same within ±0.4 |" in summary
    written = list(csv.DictReader((tmp_path / "tests.csv").open()))
    assert [(w["test"], w["treated"], w["control"]) for w in written] == [
        (row.key, row.treated, row.control) for row in found
    ]
    assert [float(w["p"]) for w in written] == [row.p for row in found]
    assert [w["established"] == "yes" for w in written] == [row.established for row in found]
    assert (tmp_path / "tests.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("score", "read", "label"),
    [
        ("sts", lambda r: r.sts["avg"], "average of the seven tasks"),
        ("best", lambda r: r.best, "best dev score"),
        (None, lambda r: r.last, "dev score after the last step"),
    ],
)
def test_the_plot_over_the_grid_shows_the_score_that_is_tested(tmp_path, monkeypatch, score, read, label):
    study = study_of(tmp_path, {"score": score} if score else None, evaluate={"data": "sts"})
    records = records_of(study)
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure.axes[0]))
    plot_grid(study, records, tmp_path / "grid.png")
    [axes] = drawn
    assert axes.get_ylabel() == label
    for name, line in zip(study.variants, axes.containers, strict=True):
        assert line.lines[0].get_ydata() == pytest.approx([scores(records, name, n, read).mean() for n in (32, 64)])


def test_a_study_without_tests_has_no_tables_of_them(tmp_path):
    study = study_of(tmp_path, None)
    write_summary(study, records_of(study), tmp_path)
    assert "Holm" not in (tmp_path / "summary.md").read_text()
    assert not (tmp_path / "tests.csv").exists()
    assert not (tmp_path / "tests.png").exists()


def test_the_masked_share_of_the_negatives_has_a_column(tmp_path):
    study = made_study(tmp_path)
    records = [made_record(run, masked_share=[None, 0.01, 0.0][run.seed % 3]) for run in study.runs()]
    write_summary(study, [r for r in records if (r.variant == "gs") == (r.masked_share is not None)], tmp_path)
    assert "| variant | seeds | last | best | last - control | best - control | masked share | s/run |" in (
        tmp_path / "summary.md"
    ).read_text().replace("  ", " ")
    rows = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert {row["masked_share"] for row in rows if row["variant"] == "gs"} == {"0.01", "0.0"}
    assert "| 0.50% |" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize(
    ("tests", "changes", "said"),
    [
        ({"differ": [["gsi", "plain"]]}, {}, "differ: there is no variant 'gsi'. Did you mean 'gs'"),
        ({"same": [["gs", "nobody"]]}, {}, "same: there is no variant 'nobody'."),
        ({"same": [["gs", "gs"]]}, {}, "same: gs is compared with itself"),
        ({"differ": [["gs", "plain"], ["plain", "gs"]]}, {}, "differ: [plain, gs] is named twice"),
        ({"interact": [["gs", "plain"]]}, {"grid": {}}, "interact compares points of a grid"),
        ({"slope": [["gs"]]}, {"grid": {"views": ["crops", "dropout"]}}, "slope needs a grid of one field with"),
        ({"slope": [["gs"]]}, {"grid": {"batch_size": [64]}}, "slope needs a grid of one field with two or more"),
        ({"slope": [["gs"], ["gs"]]}, {}, "slope: [gs] is named twice"),
        ({"slope": [["a", "b", "c"]]}, {}, "slope.0 is ['a', 'b', 'c'], but list should have at most 2 items"),
        ({"score": "sts"}, {}, "the score sts needs the seven tasks"),
        ({"score": "avg"}, {}, "score is 'avg', but input should be 'sts', 'last' or 'best'"),
        ({"margin": 0}, {}, "margin is 0, but input should be greater than 0"),
        ({"margn": 1}, {}, "there is no field 'margn'"),
        ({"differ": [["gs"]]}, {}, "differ.0.1 is missing"),
        ([["gs", "plain"]], {}, "the value is [['gs', 'plain']], but input should be a dictionary"),
        ({}, {"seeds": [3]}, "give at least two seeds, not [3]"),
        ({}, {"control": None}, "there is nothing to test"),
        ({}, {"variants": {"plain": {}}}, "there is nothing to test"),
    ],
)
def test_tests_that_cannot_be_made(tmp_path, tests, changes, said):
    with pytest.raises(SmoothCSEError) as error:
        study_of(tmp_path, tests, **changes)
    assert str(error.value).startswith(f"{tmp_path / 'study.yaml'}: tests: ")
    assert said in str(error.value)
