"""``run.json``, the manifest of a run: its inputs, environment and results.

:func:`read_manifest` reads it. Fields that are missing in manifests of earlier versions are None or empty, and fields
that this version does not know are kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.json_files import read_object
from smoothcse._utils.validation import first_problem
from smoothcse.errors import SmoothCSEError
from smoothcse.runs.config import TrainConfig, recorded_config

MANIFEST = "run.json"
"""Name of the file in the run folder."""

SCHEMA_VERSION = 2
"""Version of the format. Version 1 did not record it. Increase it when a reader must tell two formats apart."""

_ENVIRONMENT = ("started", "hardware", "python", "versions", "git_commit")


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=())


class TextSummary(_Part):
    """The training text after cleaning.

    Attributes:
        read: Records read.
        kept: Records left after cleaning.
        dropped: Number of dropped records by reason.
        fingerprint: 32 hex digits that depend on the kept text and its order alone.
        notes: Remarks, such as the files that were ignored.
        columns: Columns read as pairs or triplets; empty for sentences.
    """

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    fingerprint: str | None = None
    notes: list[str] = Field(default_factory=list)
    columns: Annotated[list[str], Field(max_length=3)] = Field(default_factory=list)

    @property
    def unit(self) -> str:
        """Unit of the counts: ``sentences``, ``pairs`` or ``triplets``."""
        return ("sentences", "sentences", "pairs", "triplets")[len(self.columns)]


class Scores(_Part):
    """Scores of a finished run; see :class:`~smoothcse.runs.result.TrainResult`."""

    start_score: float
    best_score: float
    best_step: int
    last_score: float
    criterion: str


class Times(_Part):
    """Durations in seconds.

    Attributes:
        total_seconds: Wall time of the run, evaluations included.
        evaluation_seconds: All evaluations together.
        start_evaluation_seconds: Evaluation of the untrained model.
        evaluation_share: Evaluations during training, as a fraction of the total.
        step_seconds: Median of a training step.
    """

    total_seconds: float | None = None
    evaluation_seconds: float | None = None
    start_evaluation_seconds: float | None = None
    evaluation_share: float | None = None
    step_seconds: float | None = None


class Manifest(_Part):
    """Content of ``run.json``.

    Attributes:
        schema_version: Version of the format.
        status: ``running`` for a run in progress or interrupted, ``finished`` after the last step.
        config: Configuration as the version that started the run recorded it; see :meth:`train_config`.
        pooling: Pooling that the configuration resolved to.
        data: Training text.
        text: Shares of unknown and truncated tokens, of truncated texts and of duplicates after truncation, and
            tokens per word (``fertility``). Older runs have ``unknown``, ``cut`` and ``twins`` alone.
        model_fingerprint: Fingerprint of the encoder before training.
        parameters: Weights of the encoder, those of its adapters and its head included.
        trained_parameters: Those of them that training changes.
        dev_fingerprint: Fingerprint of the labelled data that selects the best step; None without labels.
        dev_precision: Arithmetic of the dev evaluations.
        result: Scores; None until the run has finished.
        warnings: Warnings that were printed.
        times: Durations; None until the run has finished.
        width_scores: Scores of the best model cut to each number of first dimensions of Matryoshka training.
        peak_memory_mb: Peak memory of a step above the loaded model, in millions of bytes; None if unknown.
        started: Start time, UTC.
        hardware: Devices and precision.
        python: Version of Python.
        platform: Operating system.
        versions: Versions of the packages that decide the result.
        git_commit: Revision of the checkout; None for an installed package.
    """

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)] = 1
    status: Literal["running", "finished"] = "running"
    config: dict[str, Any]
    pooling: str | None = None
    data: TextSummary | None = None
    text: dict[str, float] | None = None
    model_fingerprint: str | None = None
    parameters: int | None = None
    trained_parameters: int | None = None
    dev_fingerprint: str | None = None
    dev_precision: str | None = None
    result: Scores | None = None
    warnings: list[str] = Field(default_factory=list)
    times: Times | None = None
    width_scores: dict[int, float] = Field(default_factory=dict)
    peak_memory_mb: float | None = None
    started: str | None = None
    hardware: str | None = None
    python: str | None = None
    platform: str | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    git_commit: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the run has reached its last step."""
        return self.status == "finished"

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the training text, if it was recorded."""
        return self.data.fingerprint if self.data else None

    def replace(self, **changes: Any) -> Self:
        """Return a checked copy with some fields changed."""
        return self.model_validate({**self.as_dict(), **changes})

    def as_dict(self) -> dict[str, Any]:
        """Return the recorded fields as plain values, for JSON."""
        return self.model_dump(exclude_unset=True)

    def environment(self) -> dict[str, Any]:
        """Return hardware, versions, revision and start time."""
        return {name: getattr(self, name) for name in _ENVIRONMENT}

    def train_config(self, *, where: str | Path = "") -> TrainConfig:
        """Return the configuration as this version understands it.

        Fields that this version does not know are left out; new fields have their defaults.

        Args:
            where: File of the manifest, for the message.

        Raises:
            SmoothCSEError: If a value is out of range.
        """
        return recorded_config(self.config, where=str(where))


def manifest_file(folder: str | Path) -> Path:
    """Return the path of the manifest of a run folder."""
    return Path(folder) / MANIFEST


def read_manifest(folder: str | Path) -> Manifest:
    """Read the manifest of a run folder, whether the run has finished or not.

    Raises:
        SmoothCSEError: If the folder has no manifest, or the manifest is damaged or of a newer format.
    """
    file = manifest_file(folder)
    if not file.is_file():
        raise SmoothCSEError(
            f"{folder} is not a run folder: it has no {MANIFEST}. Give the output folder of `smoothcse train`."
        )
    values = read_object(file, "the record of a run")
    _require_known_format(file, values)
    if not isinstance(values.get("config"), dict):
        raise SmoothCSEError(f"{file} has no configuration of a run; give another folder.")
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        raise SmoothCSEError(f"{file} cannot be read as the record of a run: {first_problem(error)}.") from error


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write the manifest of a run folder atomically."""
    text = json.dumps(manifest.as_dict(), indent=2, ensure_ascii=False, default=str)
    write_text_atomic(manifest_file(folder), text + "\n")


def _require_known_format(file: Path, values: dict[str, Any]) -> None:
    version = values.get("schema_version", 1)
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise SmoothCSEError(
            f"{file} has format {version}, but this version reads formats up to {SCHEMA_VERSION}; "
            "install a newer smoothcse."
        )
