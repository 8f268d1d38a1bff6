"""The pages of the results show what was run.

The second half computes the tables of the studies again from their raw runs, with loops and SciPy: nothing of it
imports the package.
"""

from __future__ import annotations

import csv
import json
import re
import runpy
import sys
from collections import defaultdict
from math import sqrt
from pathlib import Path

import pytest
import yaml
from scipy import stats

from repository import REPOSITORY

RESULTS = REPOSITORY / "docs" / "results"
SCRIPT = REPOSITORY / "docs" / "results_summary.py"
SMOOTHING = RESULTS / "smoothing" / "study-2"
SMALL = ("noise", "calibrated", "calibrated-grid", "calibrated-width", "batch-size", "methods")


@pytest.fixture
def check(monkeypatch):
    """Run ``results_summary.py --check``; its message, or 0."""
    monkeypatch.syspath_prepend(SCRIPT.parent)

    def run(*, changed: str | None = None) -> object:
        if changed:
            read = Path.read_text
            monkeypatch.setattr(Path, "read_text", lambda file, **kw: read(file, **kw).replace(*changed.split("->")))
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check"])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return left.value.code

    return run


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


def raw_runs(folder):
    return [json.loads(line) for line in (folder / "runs.jsonl").read_text(encoding="utf-8").splitlines()]


def by_seed(rows, variant, measure, point):
    found = {}
    for row in rows:
        if row["variant"] == variant and row.get("point", {}) == point:
            assert row["seed"] not in found
            found[row["seed"]] = row["sts"][measure] if measure in (row.get("sts") or {}) else row[measure]
    return found


def differences(rows, treated, control, measure, point):
    a, b = (by_seed(rows, name, measure, point) for name in (treated, control))
    return [a[seed] - b[seed] for seed in sorted(a) if seed in b]


def mean_and_sd(values):
    mean = sum(values) / len(values)
    squares = 0.0
    for value in values:
        squares += (value - mean) ** 2
    return mean, sqrt(squares / (len(values) - 1))


def interval(values, confidence):
    mean, sd = mean_and_sd(values)
    half = stats.t.isf((1 - confidence) / 2, len(values) - 1) * sd / sqrt(len(values))
    return mean, mean - half, mean + half


def show(values, decimals=2, confidence=0.95):
    mean, low, high = (f"{value:+.{decimals}f}" for value in interval(values, confidence))
    return f"{mean} [{low}, {high}]"


def show_score(values):
    mean, sd = mean_and_sd(values)
    return f"{mean:.2f} ± {sd:.2f}"


def holm_again(p_values):
    """The largest of the smaller p-values, each times the number of tests that are still open."""
    ordered = sorted(p_values)
    adjusted = []
    for p in p_values:
        candidates = [(len(ordered) - place) * q for place, q in enumerate(ordered) if q <= p]
        adjusted.append(min(1.0, max(candidates)))
    return adjusted


def tables_of(file):
    """The tables of a page: rows of cells, without the rule below the headings."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", file.read_text(encoding="utf-8"), re.MULTILINE)
    return [
        [[cell.strip() for cell in line[1:-1].split("|")] for n, line in enumerate(block.splitlines()) if n != 1]
        for block in blocks
    ]


def expected_cell(heading, rows, variant, control, point):
    names = {"STS-B": "STSBenchmark", "SICK-R": "SICKRelatedness"}
    if heading == "seeds":
        return str(len(by_seed(rows, variant, "last", point)))
    if heading.endswith(" - control"):
        measure = heading.removesuffix(" - control")
        return "" if variant == control else show(differences(rows, variant, control, measure, point))
    values = list(by_seed(rows, variant, LOGGED.get(heading, names.get(heading, heading)), point).values())
    if heading not in LOGGED:
        return show_score(values)
    known = [value for value in values if value is not None]
    forms = {"noise share": lambda x: f"{x:.1%}", "s/step": lambda x: f"{x:.3g}"}
    show_mean = forms.get(heading, lambda x: f"{x:,.0f}" if heading == "MB" else f"{x:.0f}")
    return show_mean(sum(known) / len(known)) if known else ""


LOGGED = {"noise share": "noise_share", "s/run": "seconds", "s/step": "step_seconds", "MB": "peak_memory_mb"}


def study_of(folder):
    file = folder / "study.yaml"
    return yaml.safe_load((file if file.exists() else folder.with_suffix(".yaml")).read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", [RESULTS / name for name in SMALL] + [SMOOTHING], ids=lambda folder: folder.name)
def test_the_tables_of_scores_again(folder):
    study, rows = study_of(folder), raw_runs(folder)
    checked = 0
    for headings, *lines in tables_of(folder / "summary.md"):
        if "variant" not in headings:
            continue
        place = headings.index("variant")
        points = {tuple(map(str, row["point"].values())): row["point"] for row in rows}
        shown = set()
        for line in lines:
            variant, point = line[place], points[tuple(line[:place])]
            shown.add((variant, *line[:place]))
            for heading, cell in zip(headings[place + 1 :], line[place + 1 :], strict=True):
                assert cell == expected_cell(heading, rows, variant, study["control"], point), (
                    line[: place + 1],
                    heading,
                )
                checked += 1
        assert shown == {(row["variant"], *map(str, row["point"].values())) for row in rows}
    assert checked >= 12


def smoothing_tests():
    """Mean, interval, p, adjusted p and verdict of each test of the smoothing study."""
    named, rows = study_of(SMOOTHING)["tests"], raw_runs(SMOOTHING)
    found, p_values = {}, []
    for treated, control in named["differ"]:
        values = differences(rows, treated, control, "avg", {})
        mean, sd = mean_and_sd(values)
        p_values.append(2 * stats.t.sf(abs(mean) / (sd / sqrt(len(values))), len(values) - 1))
        found["differ", treated, control] = [len(values), *interval(values, 0.95), p_values[-1]]
    for row, adjusted in zip(found.values(), holm_again(p_values), strict=True):
        row += [adjusted, adjusted <= 0.05]
    for treated, control in named["same"]:
        values = differences(rows, treated, control, "avg", {})
        mean, sd = mean_and_sd(values)
        t = (named["margin"] - abs(mean)) / (sd / sqrt(len(values)))
        p = stats.t.sf(t, len(values) - 1)
        found["same", treated, control] = [len(values), *interval(values, 0.9), p, None, p <= 0.05]
    return found


def test_the_tests_of_the_smoothing_study_again():
    rows = raw_runs(SMOOTHING)
    assert len(rows) == 80
    for row in rows:
        tasks = [score for task, score in row["sts"].items() if task != "avg"]
        assert len(tasks) == 7
        assert row["sts"]["avg"] == pytest.approx(sum(tasks) / 7)
    expected = smoothing_tests()
    with (SMOOTHING / "tests.csv").open(encoding="utf-8", newline="") as file:
        written = {(row["test"], row["treated"], row["control"]): row for row in csv.DictReader(file)}
    assert written.keys() == expected.keys()
    for key, (n, mean, low, high, p, adjusted, established) in expected.items():
        row = written[key]
        figures = [float(row[name]) for name in ("seeds", "difference", "low", "high", "p")]
        assert figures == pytest.approx([n, mean, low, high, p], rel=1e-6, abs=1e-9), key
        assert row["adjusted_p"] == "" if adjusted is None else float(row["adjusted_p"]) == pytest.approx(adjusted)
        assert row["established"] == ("yes" if established else "no"), key


def test_the_tables_of_tests_again():
    shown = {}
    for headings, *lines in tables_of(SMOOTHING / "summary.md"):
        if headings[0] == "comparison":
            shown |= {(len(headings), line[0]): line[1:] for line in lines}
    expected = {}
    for (kind, *pair), (n, mean, low, high, p, adjusted, established) in smoothing_tests().items():
        difference = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"
        p_cells = [f"{value:.2g}" for value in (p, adjusted) if value is not None]
        cells = [str(n), difference, *p_cells, "yes" if established else "no"]
        expected[{"differ": 6, "same": 5}[kind], " - ".join(pair)] = cells
    assert shown == expected


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
    for key, (_, mean, low, high, *_) in smoothing_tests().items():
        assert f"{mean:+.3f}[{low:+.3f},{high:+.3f}]" in text, key
    for variant in study_of(SMOOTHING)["variants"]:
        assert show_score(list(by_seed(raw_runs(SMOOTHING), variant, "avg", {}).values())).replace(" ", "") in text


# ---- studies whose settings are tuned -----------------------------------------------------------------------------


TUNED = RESULTS / "smoothing" / "tuned_studies.py"


@pytest.fixture
def write_tuned(monkeypatch, tmp_path):
    """Write the study files of questions 3 and 5 to a folder."""

    def write():
        monkeypatch.setattr(sys, "argv", [str(TUNED), "--folder", str(tmp_path)])
        runpy.run_path(str(TUNED), run_name="__main__")
        return tmp_path

    return write


def tuning_runs(folder: Path, last) -> None:
    """Save runs of question 5's tuning study, whose scores are those of a function of arm and point."""
    study = yaml.safe_load((folder / "study-5-tune.yaml").read_text(encoding="utf-8"))
    rates, temperatures = study["grid"]["learning_rate"], study["grid"]["temperature"]
    points = [{"learning_rate": rate, "temperature": value} for rate in rates for value in temperatures]
    runs = [
        {"variant": arm, "point": point, "last": last(arm, point)} for arm in study["variants"] for point in points
    ]
    (folder / "study-5-tune").mkdir(exist_ok=True)
    (folder / "study-5-tune" / "runs.jsonl").write_text("".join(json.dumps(run) + "\n" for run in runs))


def test_the_tuning_studies_are_those_of_the_script(write_tuned):
    written = write_tuned()
    for file in written.glob("*.yaml"):
        assert (RESULTS / "smoothing" / file.name).read_text(encoding="utf-8") == file.read_text(encoding="utf-8")
    assert {file.name for file in written.iterdir()} == {f.name for f in TUNED.parent.glob("*-tune.yaml")}


def test_each_arm_gets_its_best_settings_on_seeds_that_did_not_tune_it(write_tuned):
    tuning_runs(write_tuned(), lambda arm, point: point["temperature"] * (1 if arm == "sncse" else -1))
    folder = write_tuned()
    study = yaml.safe_load((folder / "study-5.yaml").read_text(encoding="utf-8"))
    tuning = yaml.safe_load((folder / "study-5-tune.yaml").read_text(encoding="utf-8"))
    assert {name: fields["temperature"] for name, fields in study["variants"].items()} == {
        f"{arm}{kind}": 0.1 if arm == "sncse" else 0.03 for arm in tuning["variants"] for kind in ("", "-share")
    }
    assert all((fields.get("noise_share") == 0.4) == ("share" in name) for name, fields in study["variants"].items())
    assert not set(study["seeds"]) & set(tuning["seeds"])


def test_an_interrupted_tuning_chooses_nothing(write_tuned):
    tuning_runs(folder := write_tuned(), lambda arm, point: 0.0)
    runs = folder / "study-5-tune" / "runs.jsonl"
    runs.write_text("".join(runs.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(SystemExit, match=r"arccon has 8 of 9 runs"):
        write_tuned()
    assert not (folder / "study-5.yaml").exists()
