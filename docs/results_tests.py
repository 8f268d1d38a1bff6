"""Figures of the tests of a study, for the templates of the pages."""

from __future__ import annotations

from collections.abc import Mapping

from results_files import tests


def test_of(study: str, kind: str, treated: str, control: str, point: Mapping[str, str]) -> Mapping[str, str]:
    """Return the test of a pair of variants at a point of the grid."""
    wanted = {"test": kind, "treated": treated, "control": control} | point
    [row] = [row for row in tests(study) if wanted.items() <= row.items()]
    return row


def tested(row: Mapping[str, str], decimals: int) -> str:
    """Return difference and interval of a test."""
    mean, low, high = (f"{float(row[name]):+.{decimals}f}" for name in ("difference", "low", "high"))
    return f"{mean} [{low}, {high}]"


def differ(study: str, treated: str, control: str, kind: str = "differ", **point: str) -> str:
    """Return difference and 95% interval of a test for a difference, or of an interaction."""
    return tested(test_of(study, kind, treated, control, point), decimals=2)


def same(study: str, treated: str, control: str) -> str:
    """Return difference and 90% interval of a test for equivalence."""
    return tested(test_of(study, "same", treated, control, {}), decimals=3)


def verdict(study: str, kind: str, treated: str, control: str, **point: str) -> str:
    """Return whether a test established its claim, in words."""
    words = {"same": ("the same", "not the same")}.get(kind, ("established", "not established"))
    return words[0] if test_of(study, kind, treated, control, point)["established"] == "yes" else words[1]


def effect(study: str, treated: str, control: str, **point: str) -> str:
    """Return the verb of what a test for a difference established."""
    row = test_of(study, "differ", treated, control, point)
    if row["established"] != "yes":
        return "is not shown to change"
    return "raises" if float(row["difference"]) > 0 else "lowers"


def trend(study: str, variant: str) -> str:
    """Return the verb of what the test of a variant's slope established."""
    row = test_of(study, "slope", variant, "", {})
    if row["established"] != "yes":
        return "is not shown to change"
    return "rises" if float(row["difference"]) > 0 else "falls"


def adjusted_p(study: str, treated: str, control: str) -> str:
    """Return the p-value of a test for a difference after Holm's correction."""
    return f"{float(test_of(study, 'differ', treated, control, {})['adjusted_p']):.2g}"


def pairs(study: str, treated: str, control: str, **point: str) -> str:
    """Return the number of seeds of a test for a difference."""
    return test_of(study, "differ", treated, control, point)["seeds"]
