"""Provenance of a run: versions, code revision, hardware, start time."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from smoothcse.corpus import Corpus
from smoothcse.encoders.fingerprint import fingerprint
from smoothcse.encoders.hardware import Hardware
from smoothcse.encoders.pooling import pooling_of
from smoothcse.encoders.precision import resolve_precision
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.manifest import SCHEMA_VERSION, Manifest

_PACKAGES = ("smoothcse", "torch", "sentence-transformers", "transformers", "datasets", "accelerate", "numpy")


def running_manifest(
    config: TrainConfig, corpus: Corpus, hardware: Hardware, model: SentenceTransformer, dev_fingerprint: str | None
) -> Manifest:
    """Return the manifest of a run in progress.

    Args:
        config: Configuration.
        corpus: Training text.
        hardware: Devices and precision.
        model: Encoder before the first step.
        dev_fingerprint: Fingerprint of the labelled data that selects the best step; None without labels.
    """
    values = {
        "schema_version": SCHEMA_VERSION,
        "status": "running",
        "config": config.as_dict(),
        "pooling": config.pooling or pooling_of(model),
        "data": corpus.report.as_dict(),
        "model_fingerprint": fingerprint(model),
        "parameters": sum(p.numel() for p in model.parameters()),
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "dev_fingerprint": dev_fingerprint,
        "dev_precision": resolve_precision("auto", "measure", hardware.device_type),
        **provenance(hardware.describe()),
    }
    return Manifest.model_validate(values)


def provenance(hardware: str) -> dict[str, Any]:
    """Return start time, hardware, versions and code revision of a run."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: metadata.version(name) for name in _PACKAGES},
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the git revision of the package; None if it is installed from a wheel."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
