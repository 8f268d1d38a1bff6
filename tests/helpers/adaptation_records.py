"""Records of adaptations as ``smoothcse adapt`` writes them, without training anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from smoothcse.experiments.adapt.record import AdaptRecord
from smoothcse.experiments.adapt.request import AdaptRequest
from smoothcse.experiments.adapt.trials import Trial
from smoothcse.experiments.adapt.verdict import (
    BeforeAfter,
    ChangedDocument,
    GeneralComparison,
    LabelComparison,
    Verdict,
)
from smoothcse.experiments.statistics import Difference

ENVIRONMENT = {
    "started": "2026-11-27T12:00:00+00:00",
    "hardware": "CPU, 2 cores, fp32",
    "python": "3.11.2",
    "platform": "Linux",
    "versions": {"smoothcse": "0.1.0", "torch": "2.9.0"},
    "git_commit": "a" * 40,
}
DOCUMENTS = {
    "source": "docs/",
    "documents": 1234,
    "skipped": {"no text": 3, "unreadable": 1},
    "untitled": 12,
    "read": 5678,
    "kept": 5000,
    "dropped": {"duplicate": 600, "near-duplicate": 78, "no letters": 0},
    "fingerprint": "0" * 32,
    "notes": ["docs/scan.pdf: no text"],
}
RISEN = [ChangedDocument("how to close a socket", "Shut down a connection and release its handle.", 1312, 1)]
FALLEN = [ChangedDocument("names of the months", "The calendar module has tables of names.", 1, 7)]


def verdict(**changes: Any) -> Verdict:
    """Return a verdict in favour of the adapted model."""
    fields = {
        "bm25": 37.9,
        "alone": BeforeAfter(39.3, 43.4, Difference(4.1, 2.05, 6.21, 400)),
        "fused": BeforeAfter(44.7, 45.5, Difference(0.8, -0.31, 1.92, 400)),
        "documents": 400,
        "queries": 1188,
        "risen": RISEN,
        "fallen": FALLEN,
        "labels": LabelComparison(30.0, 33.0, Difference(3.0, 0.5, 5.5, 50), "mine.jsonl", "MRR x 100", 50),
        "general": GeneralComparison(78.0, 77.8, 0.75),
        **changes,
    }
    return Verdict(**fields)


def adapted(found: Verdict | None = None, **changes: Any) -> AdaptRecord:
    """Return the record of an adaptation that trained four runs."""
    found = found or verdict()
    trials = [
        Trial("sentence", 0, 5, 4.0, 0.5, 39.0),
        Trial("sentence", 1, 30, 21.0, 0.5, 41.2),
        Trial("crops", 1, 30, 22.0, 0.5, 40.1),
        Trial("sentence-crops", 1, 30, 21.0, 0.5, 38.2),
        Trial("sentence", 2, 240, 130.0, 0.5, 43.0),
    ]
    record = AdaptRecord(
        request=AdaptRequest(documents="docs/", model="packaged-minilm", output="my-encoder").as_dict(),
        documents=DOCUMENTS,
        start_score=39.5,
        trials=trials,
        selected="2-sentence",
        verdict=found,
        adapted=not found.keeps_start,
        cosine_weight=0.7,
        seconds=840.0,
        summary=found.sentence(),
        environment=ENVIRONMENT,
    )
    return replace(record, **changes)


def untried() -> AdaptRecord:
    """Return the record of an adaptation with too few documents for a verdict."""
    summary = "Keep your model: only 4 held-out documents can be asked for. Give more documents."
    return replace(adapted(), start_score=None, trials=[], selected=None, verdict=None, adapted=False, summary=summary)
