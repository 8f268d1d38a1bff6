"""The tables of a study again, from its raw runs, with loops and SciPy: nothing of it imports the package."""

from __future__ import annotations

import csv
import itertools
import json
import re
from math import log2, sqrt

import pytest
import yaml
from scipy import stats


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
    if len(values) == 1:
        return f"{values[0]:+.{decimals}f}"
    mean, low, high = (f"{value:+.{decimals}f}" for value in interval(values, confidence))
    return f"{mean} [{low}, {high}]"


def show_score(values):
    if len(values) == 1:
        return f"{values[0]:.2f}"
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
    forms = {
        "noise share": lambda x: f"{x:.1%}",
        "masked share": lambda x: f"{x:.2%}",
        "s/step": lambda x: f"{x:.3g}",
    }
    show_mean = forms.get(heading, lambda x: f"{x:,.0f}" if heading == "MB" else f"{x:.0f}")
    return show_mean(sum(known) / len(known)) if known else ""


LOGGED = {
    "noise share": "noise_share",
    "masked share": "masked_share",
    "s/run": "seconds",
    "s/step": "step_seconds",
    "MB": "peak_memory_mb",
}


def study_of(folder):
    file = folder / "study.yaml"
    return yaml.safe_load((file if file.exists() else folder.with_suffix(".yaml")).read_text(encoding="utf-8"))


def again(study, rows):
    """Mean, interval, p, adjusted p and verdict of each test, by kind, words of the point, treated and control."""
    named = study["tests"]
    measure = {"sts": "avg"}.get(named.get("score", "sts"), named.get("score"))
    family = family_again(study, rows, measure)
    p_values = [two_sided_p(values) for values in family.values()]
    found = {}
    for (key, values), p, adjusted in zip(family.items(), p_values, holm_again(p_values), strict=True):
        if len(values) > 1:
            found[key] = [len(values), *interval(values, 0.95), p, adjusted, adjusted <= 0.05]
    for pair in named.get("same", []):
        values = differences(rows, *pair, measure, {})
        mean, sd = mean_and_sd(values)
        p = stats.t.sf((named["margin"] - abs(mean)) / (sd / sqrt(len(values))), len(values) - 1)
        found["same", (), *pair] = [len(values), *interval(values, 0.9), p, None, p <= 0.05]
    return found


def family_again(study, rows, measure):
    """The values of each seed of each test that the correction counts, by the same keys."""
    named = study["tests"]
    fields, values = list(study.get("grid", {})), list(study.get("grid", {}).values())
    points = [dict(zip(fields, chosen, strict=True)) for chosen in itertools.product(*values)]
    against_control = [[variant, study["control"]] for variant in study["variants"] if variant != study["control"]]
    family = {}
    for point in points:
        for pair in named.get("differ", against_control):
            family["differ", tuple(point.values()), *pair] = differences(rows, *pair, measure, point)
    for point in points[1:]:
        for pair in named.get("interact", []):
            words = tuple(f"{point[name]} - {points[0][name]}" for name in fields)
            family["interact", words, *pair] = changes_between(rows, *pair, measure, point, points[0])
    for names in named.get("slope", []):
        pair = [*names, ""][:2]
        family["slope", ("slope per doubling",), *pair] = slopes_between(rows, *pair, measure, points)
    return family


def changes_between(rows, treated, control, measure, point, first):
    """The difference at a point minus that at the first, of each seed that has all four runs."""
    here, there = ([by_seed(rows, name, measure, at) for name in (treated, control)] for at in (point, first))
    seeds = [seed for seed in sorted(here[0]) if all(seed in scores for scores in (here[1], *there))]
    return [here[0][seed] - here[1][seed] - (there[0][seed] - there[1][seed]) for seed in seeds]


def slopes_between(rows, treated, control, measure, points):
    """The slope of each seed, minus that of the control if there is one."""
    ours = slopes(rows, treated, measure, points)
    theirs = slopes(rows, control, measure, points) if control else dict.fromkeys(ours, 0.0)
    return [ours[seed] - theirs[seed] for seed in sorted(ours) if seed in theirs]


def slopes(rows, variant, measure, points):
    """The slope of each seed that has all points, of the line through its scores over log2 of the grid's field."""
    scores = [by_seed(rows, variant, measure, point) for point in points]
    x = [log2(value) for point in points for value in point.values()]
    seeds = set.intersection(*map(set, scores))
    return {seed: stats.linregress(x, [found[seed] for found in scores]).slope for seed in seeds}


def two_sided_p(values):
    """The p-value of the t-test; 1 for a test that lacks runs, which counts in the correction."""
    if len(values) < 2:
        return 1.0
    mean, sd = mean_and_sd(values)
    return 2 * stats.t.sf(abs(mean) / (sd / sqrt(len(values))), len(values) - 1)


# ---- what a study has written -----------------------------------------------------------------------------------


def check_scores(folder):
    """Compare the tables of scores in ``summary.md`` with the runs."""
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
                expected = expected_cell(heading, rows, variant, study["control"], point)
                assert cell == expected, (line[: place + 1], heading)
                checked += 1
        assert shown == {(row["variant"], *map(str, row["point"].values())) for row in rows}
    assert checked >= 12


def check_tests(folder):
    """Compare ``tests.csv``, and the tables of tests in ``summary.md``, with the runs."""
    study = study_of(folder)
    expected = again(study, raw_runs(folder))
    with (folder / "tests.csv").open(encoding="utf-8", newline="") as file:
        written = {key_of(row, study): row for row in csv.DictReader(file) if row["p"]}
    assert written.keys() == expected.keys()
    for key, (n, mean, low, high, p, adjusted, established) in expected.items():
        row = written[key]
        figures = [float(row[name]) for name in ("seeds", "difference", "low", "high", "p")]
        assert figures == pytest.approx([n, mean, low, high, p], rel=1e-6, abs=1e-9), key
        assert row["adjusted_p"] == "" if adjusted is None else float(row["adjusted_p"]) == pytest.approx(adjusted)
        assert row["established"] == ("yes" if established else "no"), key
    assert shown_tests(folder / "summary.md") == {
        (key[0] == "same", *name_of(key)): cells(*row) for key, row in expected.items()
    }


def key_of(row, study):
    return row["test"], tuple(row[field] for field in study.get("grid", {})), row["treated"], row["control"]


def name_of(key):
    _, point, *pair = key
    return *point, " - ".join(filter(None, pair))


def cells(n, mean, low, high, p, adjusted, established):
    p_cells = [f"{value:.2g}" for value in (p, adjusted) if value is not None]
    return [str(n), f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]", *p_cells, "yes" if established else "no"]


def shown_tests(page):
    """The cells of the tables of tests on a page, by whether they are of equivalences, and by the names of the row."""
    found = {}
    for headings, *lines in tables_of(page):
        if "comparison" in headings:
            place = headings.index("comparison") + 1
            same = any(heading.startswith("same") for heading in headings)
            found |= {(same, *line[:place]): line[place:] for line in lines if line[headings.index("p")]}
    return found
