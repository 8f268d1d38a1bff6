"""A study: variants of one configuration, over a grid of fields and over seeds.

The file::

    about: Does the noise help?
    base: {corpus: my-sentences.txt, model: packaged-minilm, max_steps: 100}
    seeds: [0, 1, 2]
    control: infonce
    variants:
      infonce: {noise_count: 0}
      gs: {}
    grid:                       # optional: every variant at every point
      batch_size: [64, 256]

A value of the grid can set other fields too::

    grid:
      batch_size:
        64: {learning_rate: 3.0e-5}
        256: {learning_rate: 6.0e-5}

Each run is scored by the criterion that selects its best step, and optionally on the seven STS tasks::

    evaluate: {data: ../shared/data/sts, which: last}   # see SevenTasks

Statistical tests are named in the same file, before the runs::

    tests: {same: [[share-0.4, ratio-1.67]], margin: 0.1}   # see StudyTests
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.experiments.planned_runs import Plan, PlannedRun, run_name
from smoothcse.experiments.seven_tasks import SevenTasks, read_seven_tasks
from smoothcse.experiments.study_tests import StudyTests, read_tests
from smoothcse.runs.config import make_config
from smoothcse.runs.config_file import read_config_file

_MOST_RUNS = 100_000
_KEYS = ("about", "base", "seeds", "control", "variants", "grid", "evaluate", "tests")


@dataclass(frozen=True)
class Study:
    """Contents of a study file.

    Attributes:
        about: Question that the study answers, in one sentence.
        base: Fields that all runs share.
        variants: Fields of each variant, by its name.
        grid: Values of each field of the grid, each with the other fields that it sets.
        seeds: Seeds of the runs of each variant at each point.
        control: Variant that the others are compared with, or None.
        evaluate: Settings of the scoring on the seven STS tasks; None to skip it. If they change, models are scored
            again, but not trained again.
        tests: Statistical tests of the study; None for intervals only.
    """

    about: str
    base: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    grid: Mapping[str, Mapping[Any, Mapping[str, Any]]]
    seeds: list[int]
    control: str | None
    evaluate: SevenTasks | None = None
    tests: StudyTests | None = None

    def points(self) -> list[dict[str, Any]]:
        """Return the points of the grid; one empty point without a grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]

    def runs(self, only: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> list[PlannedRun]:
        """Return the runs, seed by seed, so that an interrupted study has runs of each variant.

        Args:
            only: Names of the variants whose runs are returned; None for all.
            seeds: Seeds whose runs are returned; None for all.

        Raises:
            SmoothCSEError: If there is no such variant or seed.
        """
        for name in only or ():
            if name not in self.variants:
                raise SmoothCSEError(f"The study has no variant {name!r}.{did_you_mean(name, list(self.variants))}")
        for seed in seeds or ():
            if seed not in self.seeds:
                raise SmoothCSEError(f"The study has no seed {seed}; its seeds are {self.seeds}.")
        return [
            self._run(variant, point, seed)
            for seed in self.seeds
            if not seeds or seed in seeds
            for point in self.points()
            for variant in self.variants
            if not only or variant in only
        ]

    def plan(self, folder: Path, only: Sequence[str] | None = None, seeds: Sequence[int] | None = None) -> Plan:
        """Return the plan of the study.

        Args:
            folder: Folder that holds the run folders.
            only: Names of the variants whose runs are due now; None for all.
            seeds: Seeds whose runs are due now; None for all.

        Raises:
            SmoothCSEError: If there is no such variant or seed.
        """
        return Plan(self.runs(), folder, self.evaluate, due=self.runs(only, seeds))

    def _run(self, variant: str, point: Mapping[str, Any], seed: int) -> PlannedRun:
        fields = {**self.base, **self._fields_at(point), **self.variants[variant], "seed": seed}
        return PlannedRun(run_name(variant, point, seed), variant, make_config(fields), point)

    def _fields_at(self, point: Mapping[str, Any]) -> dict[str, Any]:
        fields = dict(point)
        for name, value in point.items():
            fields |= self.grid[name][value]
        return fields


def read_study(file: Path) -> Study:
    """Read and check a study file.

    Raises:
        SmoothCSEError: If the file is not a valid study; the message names the key and says what to write instead.
    """
    values = read_config_file(file)
    for problem in _problems(values):
        raise SmoothCSEError(f"{file}: {problem}")
    study = Study(
        about=str(values.get("about", "")),
        base=values.get("base", {}),
        variants={str(name): fields or {} for name, fields in values["variants"].items()},
        grid={
            field: entries if isinstance(entries, dict) else {value: {} for value in entries}
            for field, entries in values.get("grid", {}).items()
        },
        seeds=values["seeds"],
        control=values.get("control"),
    )
    count = math.prod([len(study.variants), len(study.seeds), *map(len, study.grid.values())])
    if count > _MOST_RUNS:
        raise SmoothCSEError(f"{file}: the study has {count:,} runs, more than the {_MOST_RUNS:,} of the largest.")
    try:
        study = replace(study, evaluate=read_seven_tasks(values.get("evaluate")))
        for run in study.runs():
            _require_own_folder(run)
        return replace(study, tests=read_tests(values.get("tests"), study))
    except SmoothCSEError as error:
        raise SmoothCSEError(f"{file}: {error}") from error


def _require_own_folder(run: PlannedRun) -> None:
    """Reject a run name outside of the study's folder."""
    if os.path.isabs(run.name) or ".." in run.name.replace("\\", "/").split("/") or "\0" in run.name:
        raise SmoothCSEError(f"the run {run.name!r} would be written outside of the study's folder; rename it.")


def _problems(values: Mapping[str, Any]) -> Iterator[str]:
    for key in values:
        if key not in _KEYS:
            yield f"there is no key {key!r} in a study.{did_you_mean(str(key), _KEYS)}"
    for key in ("base", "variants", "grid"):
        if not isinstance(values.get(key, {}), dict):
            yield f"{key} must be a mapping, not {values[key]!r}."
            return
    yield from _variant_problems(values.get("variants", {}), values.get("control"))
    yield from _seed_problems(values.get("seeds"))
    for field, entries in values.get("grid", {}).items():
        if (
            not isinstance(entries, list | dict)
            or not entries
            or any(isinstance(e, list | dict | set) for e in entries)
        ):
            yield f"grid.{field} must be a list of values, not {entries!r}."
        elif isinstance(entries, dict) and not all(isinstance(fields, dict) for fields in entries.values()):
            yield f"grid.{field} must give a mapping of fields for each value, or be a list of values."
    yield from _conflicts(values)


def _conflicts(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield fields that the study sets itself, and those of a variant in which points of the grid would not differ."""
    variants = {name: set(fields or {}) for name, fields in values.get("variants", {}).items()}
    grid = values.get("grid", {})
    in_grid = set(grid).union(*map(_fields_set_by, grid.values()))
    parts: dict[str, set[str]] = {"base": set(values.get("base", {})), "grid": in_grid}
    parts |= {f"the variant {name!r}": fields for name, fields in variants.items()}
    for part, fields in parts.items():
        if "seed" in fields:
            yield f"{part} sets seed; list the seeds under seeds."
        if "output" in fields:
            yield f"{part} sets output, which each run has by its name; leave it out."
    for name, fields in variants.items():
        for field in sorted(in_grid & fields):
            yield f"the variant {name!r} sets {field}, and so does the grid; leave it out of one of them."
    yield from _conflicts_in_grid(grid)


def _conflicts_in_grid(grid: Mapping[str, Any]) -> Iterator[str]:
    """Yield fields that are set by two fields of the grid, so that one would have no effect."""
    taken = set(grid)
    for name, entries in grid.items():
        further = _fields_set_by(entries)
        for field in sorted(taken & further):
            yield f"grid.{name} sets {field}, which the grid sets already; leave it out of one of them."
        taken |= further


def _fields_set_by(entries: Any) -> set[str]:
    """Return the further fields that the values of a field of the grid set."""
    return set().union(*entries.values()) if isinstance(entries, dict) else set()


def _variant_problems(variants: Mapping[str, Any], control: Any) -> Iterator[str]:
    if not variants:
        yield "variants is missing; name at least one, e.g. 'gs: {}'."
    for name, fields in variants.items():
        if not isinstance(fields or {}, dict):
            yield f"the variant {name!r} must be a mapping of configuration fields, not {fields!r}."
    if control is not None and (not isinstance(control, str) or control not in map(str, variants)):
        yield f"the control {control!r} is none of the variants ({', '.join(map(str, variants))})."


def _seed_problems(seeds: Any) -> Iterator[str]:
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds):
        yield f"seeds must be a list of whole numbers such as [0, 1, 2], not {seeds!r}."
    elif len(set(seeds)) < len(seeds):
        yield f"seeds has {seeds}, one of them twice; a run repeated is no second run."
