"""The report on an adaptation: made from its record alone, with every figure of it, and no markup of others."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from adaptation_records import DOCUMENTS, adapted, untried, verdict
from parsed_page import Page
from smoothcse.cli.adapt import adapt
from smoothcse.cli.report import report
from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.adapt import Adaptation
from smoothcse.experiments.adapt.record import AdaptRecord, write_record
from smoothcse.experiments.adapt.verdict import BeforeAfter, ChangedDocument, LabelComparison
from smoothcse.experiments.statistics import Difference
from smoothcse.report.adaptation import write_adaptation_report
from smoothcse.report.adaptation_figures import trial_rows
from smoothcse.report.axes import WIDTH
from smoothcse.report.figures import Interval, forest_plot

OPEN = BeforeAfter(40.0, 40.5, Difference(0.5, -1.0, 2.0, 400))
HOSTILE = '<script>alert(1)</script> & "x" {{ 7 * 7 }} </style> \u202eסוף\u202c'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my-encoder"
    made.mkdir()
    return made


def page_of(folder: Path, record: AdaptRecord) -> Page:
    write_record(folder, record)
    return Page(write_adaptation_report(folder).read_text(encoding="utf-8"))


def test_the_page_says_what_the_record_holds(folder):
    record = adapted()
    page = page_of(folder, record)
    assert page.texts["h1"] == ["my-encoder: an encoder adapted to documents"]
    text = page.text()
    for said in (
        record.summary,
        "37.9", "39.3", "43.4", "+4.10 [+2.05, +6.21]", "44.7", "45.5", "+0.80 [-0.31, +1.92]",
        "your labels: mine.jsonl, 50 items, MRR x 100", "+3.00 [+0.50, +5.50]",
        "general quality (STS, Spearman x 100)", "78.0", "77.8", "-0.20", "75%, the rest is the start's",
        "400 held-out documents", "1,188 queries",
        "rank 1,312 → 1", "how to close a socket", "Shut down a connection", "rank 1 → 7", "names of the months",
        "Skipped: no text", "1,234", "5,000", "docs/scan.pdf: no text",
        "CPU, 2 cores, fp32", "torch 2.9.0", "3.11.2", "0.70; BM25 has 0.30", "14 min of 15 min",
    ):  # fmt: skip
        assert said in text, said
    assert "start is kept" not in text


def test_the_page_needs_nothing_else_and_can_be_read_without_eyes(folder):
    page = page_of(folder, adapted())
    assert not {"script", "link", "iframe", "object", "img", "a"} & {tag for tag, _ in page.tags}
    pictures = page.named("svg")
    assert len(pictures) == 2
    assert all(picture["role"] == "img" and len(picture["aria-label"]) > 20 for picture in pictures)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_text_of_others_is_no_markup(folder):
    change = ChangedDocument(HOSTILE, HOSTILE, 9, 1)
    labels = LabelComparison(30.0, 33.0, Difference(3.0, 0.5, 5.5, 50), HOSTILE, "MRR x 100", 50)
    record = adapted(
        verdict(risen=[change], fallen=[change], labels=labels),
        documents={**DOCUMENTS, "skipped": {HOSTILE: 1}, "notes": [HOSTILE]},
        request={**adapted().request, "documents": HOSTILE},
    )
    page = page_of(folder, record)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text().count(HOSTILE) >= 8
    directions = [attributes["dir"] for tag, attributes in page.tags if tag == "p" and "dir" in attributes]
    assert directions == ["auto"] * 4  # query and document, risen and fallen


def test_long_texts_are_clipped(folder):
    change = ChangedDocument("query " * 100_000, "w" * 1_000_000, 9, 1)
    page_of(folder, adapted(verdict(risen=[change] * 5)))
    assert (folder / "report.html").stat().st_size < 100_000


def test_a_model_that_is_kept(folder):
    text = page_of(folder, adapted(verdict(alone=OPEN, labels=None, general=None))).text()
    assert "Keep your model: no gain was established on 400 held-out documents" in text
    assert "The start is kept" in text
    assert "Compare before and after" not in text
    assert "your labels:" not in text
    assert "general quality" not in text


def test_an_adaptation_without_verdict(folder):
    page = page_of(folder, untried())
    text = page.text()
    assert untried().summary in text
    assert "Nothing was trained." in text
    assert "1,234" in text
    assert "smoothcse index" in text
    assert not page.named("svg")


def test_the_trials_are_those_that_were_compared():
    rows = trial_rows(adapted())
    assert [(row.number, row.trial.candidate, row.gain, row.selected) for row in rows] == [
        (1, "sentence", "+1.7", False),
        (2, "crops", "+0.6", False),
        (3, "sentence-crops", "-1.3", False),
        (1, "sentence", "+3.5", True),
    ]


def test_an_interval_is_drawn_to_scale():
    picture = forest_plot([Interval("a & b", 1.0, -1.0, 3.0), Interval("c", 5.0, 4.0, 7.0)], x="x", alt="two")
    spans = re.findall(r'"interval c0" points="([\d.]+),[\d.]+ ([\d.]+),', picture)
    dots = [float(x) for x in re.findall(r'circle class="dot c0" cx="([\d.]+)"', picture)]
    zero = float(re.search(r'"zero" points="([\d.]+),', picture)[1])
    (low, high), (other, end) = [tuple(map(float, span)) for span in spans]
    assert low < zero < dots[0] < high < other < dots[1] < end <= WIDTH
    assert dots[0] == pytest.approx((low + high) / 2, abs=0.1)
    assert (high - low) / (end - other) == pytest.approx(4 / 3, abs=0.01)
    assert "a &amp; b: +1.00, from -1.00 to +3.00" in picture


def test_the_command_recognises_an_adaptation(folder, capsys):
    write_record(folder, adapted())
    report([folder])
    assert f"The report is in {folder / 'report.html'}." in capsys.readouterr().out
    report([folder], folder.parent / "other.html")
    assert (folder.parent / "other.html").is_file()
    with pytest.raises(SmoothCSEError, match="give its folder alone"):
        report([folder, folder])


def test_adapt_ends_with_its_report(folder, monkeypatch, capsys):
    def adapt_to(documents, *, output, **options):
        write_record(output, adapted())
        return Adaptation(output, adapted())

    monkeypatch.setattr("smoothcse.experiments.adapt.adapt", adapt_to)
    adapt("docs/", output=folder, model="packaged-minilm")
    assert (folder / "report.html").is_file()
    assert capsys.readouterr().out == f"The report is in {folder / 'report.html'}.\n"


def test_an_unfinished_adaptation_has_no_report(folder):
    (folder / "request.json").write_text("{}")
    with pytest.raises(SmoothCSEError, match="is unfinished; repeat its `smoothcse adapt`"):
        report([folder])
    (folder / "adapt.json").write_text("{}")
    with pytest.raises(SmoothCSEError, match=r"adapt\.json cannot be read"):
        report([folder])
    assert not (folder / "report.html").exists()


def test_an_interval_that_is_unknown_is_a_point(folder):
    single = LabelComparison(30.0, 33.0, Difference(3.0, None, None, 1), "one.jsonl", "MRR x 100", 1)
    assert "+3.00" in page_of(folder, adapted(verdict(labels=single))).text()


def test_a_candidate_of_another_version_has_no_description(folder):
    trials = [replace(trial, candidate="unknown") for trial in adapted().trials]
    assert "unknown" in page_of(folder, adapted(trials=trials)).text()
