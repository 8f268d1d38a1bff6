"""``runs.jsonl``: one line per finished run of a study, all that its tables and plots need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.experiments.seven_tasks import SevenTasks
from smoothcse.experiments.study import PlannedRun
from smoothcse.runs.config import changed_fields
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import Times, read_manifest
from smoothcse.runs.result import result_of


@dataclass(frozen=True)
class Record:
    """What is kept of a finished run.

    Attributes:
        variant: as the study names it.
        point: of the study's grid.
        seed: of the run.
        start: score before training, in the criterion's unit.
        best: highest score at any evaluation, the start included.
        last: score after the last step.
        curve: ``(step, score)`` of each evaluation.
        noise_share: mean over the logged steps; None without noise.
        seconds: wall time.
        config: all fields.
        environment: hardware, versions, commit, date.
        step_seconds: median time of a step, without evaluations; None in records from before it was measured.
        peak_memory_mb: of a step, above the loaded model, in millions of bytes; None likewise, or if not known.
        evaluated: how ``sts`` was measured; None without.
        sts: Spearman times 100 by task, and their mean ``avg``.
        fingerprint: of the text; None in records from before it was kept.
    """

    variant: str
    point: Mapping[str, Any]
    seed: int
    start: float
    best: float
    last: float
    curve: list[tuple[int, float]]
    noise_share: float | None
    seconds: float
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    step_seconds: float | None = None
    peak_memory_mb: float | None = None
    evaluated: SevenTasks | None = None
    sts: Mapping[str, float] | None = None
    fingerprint: str | None = None

    def is_of(self, run: PlannedRun) -> bool:
        """Whether this is the record of exactly that run, all fields equal."""
        return (
            self.variant == run.variant
            and dict(self.point) == dict(run.point)
            and not changed_fields(self.config, run.config.as_dict())
        )

    def has(self, wanted: SevenTasks | None) -> bool:
        """Whether the scores on the seven tasks are here that a study asks for, if it does."""
        return wanted is None or wanted.is_like(self.evaluated)


def read_records(file: Path) -> list[Record]:
    """Read the records of a study; an empty list where the file is not there yet.

    Raises:
        SmoothCSEError: for a line that is no record.
    """
    if not file.is_file():
        return []
    records = []
    record = TypeAdapter(Record)
    for number, line in enumerate(_lines(file), start=1):
        try:
            records.append(record.validate_python(json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            reason = first_line(error)
            raise SmoothCSEError(f"{file}:{number} is no record of a run ({reason}); delete the line.") from error
    return records


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise SmoothCSEError(f"{file} cannot be read as the records of runs ({error}); move it away.") from error


def append_record(file: Path, record: Record) -> None:
    """Add a finished run, or one that has more scores now: its last line counts."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")


def record_of(run: PlannedRun, folder: RunFolder) -> Record:
    """Return the record of a finished run."""
    manifest, metrics = read_manifest(folder.path), folder.metrics()
    result = result_of(folder.path, manifest)
    times = manifest.times or Times()
    shares = [entry["noise_share"] for entry in metrics if entry.get("noise_share")]
    return Record(
        variant=run.variant,
        point=run.point,
        seed=run.seed,
        start=result.start_score,
        best=result.best_score,
        last=result.last_score,
        curve=[(entry["step"], entry["eval_dev_score"]) for entry in metrics if "eval_dev_score" in entry],
        noise_share=sum(shares) / len(shares) if shares else None,
        seconds=times.total_seconds or 0.0,
        config=run.config.as_dict(),
        environment=manifest.environment(),
        step_seconds=times.step_seconds,
        peak_memory_mb=manifest.peak_memory_mb,
        fingerprint=manifest.fingerprint,
    )


def require_one_text(records: Iterable[Record]) -> None:
    """Check that runs whose configurations name one text have learned from one text.

    Raises:
        SmoothCSEError: With both fingerprints, if the text changed while the study was under way.
    """
    known: dict[str, Record] = {}
    for record in records:
        fields = [record.config.get(name) for name in ("corpus", "column", "columns", "limit")]
        drawn = record.seed if record.config.get("limit") is not None else None  # each seed draws its own sample
        if record.fingerprint is None:
            continue
        other = known.setdefault(repr((fields, drawn)), record)
        if other.fingerprint != record.fingerprint:
            raise SmoothCSEError(
                f"The runs {other.variant}, seed {other.seed}, and {record.variant}, seed {record.seed}, learned from "
                f"different texts (fingerprints {other.fingerprint} and {record.fingerprint}), though both name "
                f"{record.config['corpus']}; bring the former text back and delete the folder of the later run, "
                "or give another --output."
            )
