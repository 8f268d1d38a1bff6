"""``runs.jsonl``: one line per finished run, with all data for tables and plots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from smoothcse.errors import SmoothCSEError, first_line
from smoothcse.evaluation.results import AVERAGE
from smoothcse.experiments.planned_runs import PlannedRun, run_name
from smoothcse.experiments.seven_tasks import SevenTasks, read_diagnoses, read_figures
from smoothcse.runs.config import changed_fields
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import Times, read_manifest
from smoothcse.runs.result import result_of

ScoreName = Literal["sts", "last", "best"]
"""Score of a run: average of the seven tasks, dev score after the last step, or that of the best evaluation."""


@dataclass(frozen=True)
class Record:
    """Record of a finished run.

    Attributes:
        variant: Name of the variant in its plan.
        point: Point of the study's grid.
        seed: Seed of the run.
        start: Score before training, in the criterion's unit.
        best: Highest score of all evaluations, including the start.
        last: Score after the last step.
        curve: ``(step, score)`` of each evaluation.
        noise_share: Mean over the logged steps; None without noise.
        seconds: Wall time.
        config: All configuration fields.
        environment: Hardware, versions, commit and date.
        step_seconds: Median time of a step, without evaluations; None if it was not measured, as in old records.
        peak_memory_mb: Peak memory of a step above the loaded model, in millions of bytes; None if unknown.
        evaluated: Settings of the scoring in ``sts``; None without scores.
        sts: Spearman times 100 by task, and their mean ``avg``.
        fingerprint: Fingerprint of the text; None in old records.
        best_step: Step of the highest score, 0 for the start; None in old records.
        diagnoses: Problems with the scores in ``sts``.
        masked_share: Share of the negatives masked as likely false, mean over the logged steps; None without a mask.
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
    best_step: int | None = None
    diagnoses: list[str] = field(default_factory=list)
    masked_share: float | None = None

    @property
    def name(self) -> str:
        """Name of the run in its plan."""
        return run_name(self.variant, self.point, self.seed)

    def is_of(self, run: PlannedRun) -> bool:
        """Return whether this is the record of a run, with all fields equal."""
        return (
            self.variant == run.variant
            and dict(self.point) == dict(run.point)
            and not changed_fields(self.config, run.config.as_dict())
        )

    def score(self, name: ScoreName) -> float | None:
        """Return one of the run's scores; None for the seven tasks if they were not scored."""
        if name == "sts":
            return self.sts[AVERAGE] if self.sts else None
        return self.last if name == "last" else self.best

    def has(self, wanted: SevenTasks | None) -> bool:
        """Return whether the record has the scores on the seven tasks that a plan requires."""
        return wanted is None or wanted.is_like(self.evaluated)


def read_records(file: Path) -> list[Record]:
    """Read the records of a study; an empty list if the file does not exist yet.

    Raises:
        SmoothCSEError: If a line is not a record; the message names the line.
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
            raise SmoothCSEError(f"{file}:{number} is not a record of a run ({reason}); delete the line.") from error
    return records


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="utf-8").removesuffix("\n")
        return text.split("\n") if text else []
    except (OSError, ValueError) as error:
        raise SmoothCSEError(f"{file} cannot be read as the records of runs ({error}); move it away.") from error


def recorded(runs: Iterable[PlannedRun], record_file: Path | None) -> list[Record]:
    """Return the records of the given runs, in their order; empty if there is no file."""
    records = read_records(record_file) if record_file else []
    return [record for run in runs if (record := find_record(run, records))]


def find_record(run: PlannedRun, records: Sequence[Record]) -> Record | None:
    """Return the last record of a run, or None."""
    return next((record for record in reversed(records) if record.is_of(run)), None)


def append_record(file: Path, record: Record) -> None:
    """Append a record; it replaces earlier records of the same run."""
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")


def record_of(run: PlannedRun, folder: RunFolder) -> Record:
    """Return the record of a finished run, from its folder."""
    manifest, metrics = read_manifest(folder.path), folder.metrics()
    result = result_of(folder.path, manifest)
    times = manifest.times or Times()
    shares = [entry["noise_share"] for entry in metrics if entry.get("noise_share")]
    masked = [entry["masked_share"] for entry in metrics if entry.get("masked_share") is not None]
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
        best_step=result.best_step,
        masked_share=sum(masked) / len(masked) if masked else None,
    )


def with_scores(record: Record, wanted: SevenTasks, file: Path) -> Record:
    """Return a record with the scores on the seven tasks from a results file."""
    return replace(record, evaluated=wanted, sts=read_figures(file), diagnoses=read_diagnoses(file))


def require_one_text(records: Iterable[Record]) -> None:
    """Check that the text of runs with the same corpus did not change.

    Raises:
        SmoothCSEError: If the text changed between two runs; the message gives both fingerprints.
    """
    known: dict[str, Record] = {}
    for record in records:
        fields = [record.config.get(name) for name in ("corpus", "column", "columns", "limit")]
        if "title" in record.config.get("views", ()):  # which drops the texts without a title
            fields.append(record.config["title_column"])
        drawn = record.seed if record.config.get("limit") is not None else None  # each seed draws its own sample
        if record.fingerprint is None:
            continue
        other = known.setdefault(repr((fields, drawn)), record)
        if other.fingerprint != record.fingerprint:
            raise SmoothCSEError(
                f"The runs {other.name} and {record.name} were trained on different texts "
                f"(fingerprints {other.fingerprint} and {record.fingerprint}), though both name "
                f"{record.config['corpus']}; restore the earlier text and delete the folder of the later run, "
                "or give another --output."
            )
