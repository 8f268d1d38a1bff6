"""Facts of an adaptation in words and tables: its scores, its documents, its settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smoothcse.experiments.adapt.record import AdaptRecord
from smoothcse.experiments.adapt.verdict import BeforeAfter, Verdict
from smoothcse.training.card import duration

Facts = list[tuple[str, str]]


def tiles(verdict: Verdict | None) -> Facts:
    """Return the scores to show first, as figures and labels."""
    if verdict is None:
        return []
    return [
        (f"{verdict.bm25:.1f}", "BM25"),
        (f"{verdict.alone.before:.1f}", "start, alone"),
        (f"{verdict.alone.after:.1f}", "adapted, alone"),
        (f"{verdict.fused.before:.1f}", "start, fused with BM25"),
        (f"{verdict.fused.after:.1f}", "adapted, fused with BM25"),
    ]


def score_rows(verdict: Verdict | None) -> list[tuple[str, list[str]]]:
    """Return the table of scores: the name of each row, and the start, the adapted model and their difference."""
    if verdict is None:
        return []
    rows = [
        ("words alone (BM25)", [f"{verdict.bm25:.1f}", f"{verdict.bm25:.1f}", ""]),
        ("meaning alone (cosine similarity)", _cells(verdict.alone)),
        ("words and meaning (fused)", _cells(verdict.fused)),
    ]
    if maxsim := verdict.maxsim:
        after = f"{maxsim.after:.1f}"
        cells = [after, ""] if verdict.keeps_start else ["", after]
        name = f"fused, then MaxSim ({maxsim.milliseconds:.0f} ms per query, {maxsim.queries:,} queries)"
        rows.append((name, [*cells, f"{maxsim.difference} to fused"]))
    if labels := verdict.labels:
        rows.append((f"your labels: {labels.name}, {labels.items:,} items, {labels.metric}", _cells(labels)))
    if general := verdict.general:
        cells = [f"{general.before:.1f}", f"{general.after:.1f}", f"{general.after - general.before:+.2f}"]
        rows.append(("general quality (STS, Spearman x 100)", cells))
    return rows


def documents_read(report: Mapping[str, Any]) -> Facts:
    """Return the numbers of documents and passages, and the remarks of the report on the documents."""
    counts = [
        ("Documents", report.get("documents")),
        *((f"Skipped: {reason}", count) for reason, count in report.get("skipped", {}).items()),
        ("Without a title", report.get("untitled")),
        ("Passages", report.get("read")),
        *((f"Dropped: {reason}", count) for reason, count in report.get("dropped", {}).items() if count),
        ("Kept", report.get("kept")),
    ]
    facts = [(term, f"{count:,}") for term, count in counts if count is not None]
    return [*facts, *(("Note", str(note)) for note in report.get("notes", ()))]


def adaptation_card(record: AdaptRecord, folder: Path) -> Facts:
    """Return the model, settings, duration and environment, as terms and descriptions."""
    request, environment = record.request, record.environment
    versions = ", ".join(f"{name} {version}" for name, version in environment.get("versions", {}).items())
    facts = [
        ("Start", request.get("model")),
        ("Documents", request.get("documents")),
        ("Selected", record.selected),
        ("Model folder", "the adapted encoder" if record.adapted else "the start"),
        ("Weight of the cosine", f"{record.cosine_weight:.2f}; BM25 has {1 - record.cosine_weight:.2f}"),
        ("Reranking", record.verdict.rerank if record.verdict else None),
        ("Trained weights kept", _share(record.verdict)),
        ("Time", f"{duration(record.seconds)} of {duration(60 * request['minutes'])}"),
        ("Started", (environment.get("started") or "").replace("T", " ")),
        ("Hardware", environment.get("hardware")),
        ("Versions", versions),
        ("Python", " on ".join(filter(None, (environment.get("python"), environment.get("platform"))))),
        ("Git commit", environment.get("git_commit")),
        ("Fingerprint", record.documents.get("fingerprint")),
        ("Folder", str(folder.resolve())),
    ]
    return [(term, str(words)) for term, words in facts if words]


def arguments(record: AdaptRecord) -> Facts:
    """Return all arguments of the adaptation."""
    return [(name, "unset" if value is None else str(value)) for name, value in record.request.items()]


def _cells(comparison: BeforeAfter) -> list[str]:
    return [f"{comparison.before:.1f}", f"{comparison.after:.1f}", str(comparison.difference)]


def _share(verdict: Verdict | None) -> str | None:
    general = verdict.general if verdict else None
    return f"{general.share:.0%}, the rest is the start's" if general and general.share < 1 else None
