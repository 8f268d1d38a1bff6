"""The published figures: complete, consistent with their averages, and honest about where they come from."""

from __future__ import annotations

import io
import re
from statistics import fmean

import pytest
from rich.console import Console

from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.published import published_results, published_table
from smoothcse.evaluation.sts import SEVEN_STS

# The one row of the literature whose printed average is not the mean of its printed figures.
KNOWN_MISMATCH = ("PromptBERT", "BERT-base")


def shown(table) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def test_averages_are_the_means_of_their_rows_but_for_the_known_one():
    rounding = 0.005 + 0.005 + 1e-9  # of the printed average, and of the mean of seven printed figures
    wrong = [
        (row.system, row.model)
        for row in published_results()
        if row.scores and abs(fmean(row.scores.values()) - row.average) > rounding
    ]
    assert wrong == [KNOWN_MISMATCH]
    (row,) = published_results(*KNOWN_MISMATCH)
    assert round(fmean(row.scores.values()), 2) == 78.52
    assert row.average == 78.54
    assert "78.52" in row.note


def test_rows_are_complete_and_plausible():
    rows = published_results()
    assert len(rows) == 52
    assert {row.model for row in rows} == {"BERT-base", "BERT-large", "RoBERTa-base", "RoBERTa-large"}
    for row in rows:
        assert tuple(row.scores) in (SEVEN_STS, ())
        assert all(65 < figure < 90 for figure in (row.average, *row.scores.values()))
        assert row.sources
        assert set(row.sources) <= {"L", "README", "paper", "B", "C", "R"}
        assert row.provisional == ("R" in row.sources)


def test_every_row_of_the_design_document_is_there(shared):
    """Figures alone are compared: names and notes are arranged differently there."""
    text = (shared / "design" / "METHODS.md").read_text(encoding="utf-8")
    section = text[text.index("## 4. Results table") : text.index("All rows were re-averaged")]
    lines = [line for line in section.splitlines() if re.match(r"\| .*\d\d\.\d\d", line)]
    documented = sorted(re.findall(r"\d\d\.\d\d", line) for line in lines)
    assert documented == sorted(
        [f"{figure:.2f}" for figure in (*row.scores.values(), row.average)] for row in published_results()
    )


def test_rows_are_chosen_by_system_and_model():
    (row,) = published_results("GS-InfoNCE", "BERT-base")
    assert row.average == 77.63
    assert row.scores["STSBenchmark"] == 79.70
    assert {r.average for r in published_results("GS-InfoNCE", "BERT-large")} == {78.96, 79.13}
    assert {r.system for r in published_results(system="DebCSE")} == {"DebCSE"}
    assert {r.model for r in published_results(model="RoBERTa-base")} == {"RoBERTa-base"}


@pytest.mark.parametrize(
    ("system", "model", "expected"),
    [("GS-InfoNEC", None, "Did you mean 'GS-InfoNCE'?"), (None, "bert-base", "the model 'bert-base'")],
)
def test_unknown_names_are_refused(system, model, expected):
    with pytest.raises(SmoothCSEError, match=re.escape(expected)):
        published_results(system, model)


def test_the_table_marks_provisional_rows():
    text = shown(published_table(["unsup-SimCSE", "DebCSE"], "BERT-base"))
    assert "76.25 " in text
    assert "80.33*" in text
    assert "provisional" in text
    assert text.index("unsup-SimCSE") < text.index("DebCSE")
    assert "provisional" not in shown(published_table(["unsup-SimCSE"]))


def test_the_table_shows_rows_of_which_only_the_average_is_known():
    assert "79.21" in shown(published_table(["GS-InfoNCE"], "RoBERTa-large"))
