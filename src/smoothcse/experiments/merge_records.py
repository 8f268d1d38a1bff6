"""Merging of the records of a study whose runs were trained on several machines or by several processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from smoothcse.errors import SmoothCSEError
from smoothcse.experiments.planned_runs import PlannedRun
from smoothcse.experiments.run_records import (
    Record,
    append_record,
    find_record,
    read_records,
    recorded,
    require_one_text,
)
from smoothcse.experiments.study import Study
from smoothcse.runs.config import changed_fields

_RECORDS = "runs.jsonl"


class Merged(NamedTuple):
    """Counts of merged records: those added, those known before, and those of no run of the study."""

    added: int
    known: int
    others: int

    def __str__(self) -> str:
        """Return the counts in one sentence."""
        ignored = f"; {self.others} of other runs are ignored" if self.others else ""
        return f"{self.added} records added, {self.known} known before{ignored}."


def merge_records(study: Study, output: Path, sources: Sequence[Path]) -> Merged:
    """Add the records of a study's runs from other folders to ``output/runs.jsonl``.

    A run that is recorded in several places is taken once: the first record with the scores that the study asks for.

    Args:
        study: The study.
        output: Folder of the merged ``runs.jsonl``.
        sources: Files named ``runs.jsonl``, or folders that contain such files at any depth.

    Raises:
        SmoothCSEError: If a source has no records, a run was trained with another configuration or on another text, or
            a line is not a record. Nothing is added.
    """
    planned = {run.name: run for run in study.runs()}
    before = recorded(planned.values(), output / _RECORDS)
    taken = {record.name: record for record in before}
    known = others = 0
    for file in _files(sources, output / _RECORDS):
        records = read_records(file)
        others += sum(record.name not in planned for record in records)
        for name in dict.fromkeys(record.name for record in records if record.name in planned):
            record = _record_of(planned[name], records, file)
            if name in taken and (taken[name].has(study.evaluate) or not record.has(study.evaluate)):
                known += 1
            else:
                taken[name] = record
    require_one_text(taken.values())
    added = [record for record in taken.values() if record not in before]
    for record in added:
        append_record(output / _RECORDS, record)
    return Merged(len(added), known, others)


def _files(sources: Sequence[Path], merged: Path) -> Iterator[Path]:
    """Yield the files of the sources, without the merged one."""
    for source in sources:
        files = sorted(source.rglob(_RECORDS)) if source.is_dir() else [source]
        if not files or not files[0].is_file():
            raise SmoothCSEError(f"{source} has no records to merge; give the folder of a study, or its {_RECORDS}.")
        yield from (file for file in files if file.resolve() != merged.resolve())


def _record_of(run: PlannedRun, records: Sequence[Record], file: Path) -> Record:
    """Return the record of a run, given records of which at least one has its name."""
    record = find_record(run, records)
    if record:
        return record
    latest = next(record for record in reversed(records) if record.name == run.name)
    now = run.config.as_dict()
    changes = [
        f"{name} {latest.config.get(name)!r} instead of {now.get(name)!r}"
        for name in changed_fields(latest.config, now)
    ]
    raise SmoothCSEError(
        f"{file}: the run {run.name} was trained with another configuration than that of the study "
        f"({', '.join(changes)}); merge runs of the same study, with the same paths."
    )
