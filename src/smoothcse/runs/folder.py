"""Layout of a run folder.

::

    run.json         manifest: configuration, versions, data fingerprint, results, times, memory
    metrics.jsonl    one line per log entry and evaluation
    best/            the selected model, a plain sentence-transformers folder
    last/            the model after the last step, in the same format
    best-adapters/   the adapters of best, and last-adapters/ those of last, if they are kept
    checkpoints/     checkpoints for --resume, in the trainer's format
    texts.arrow      texts that the method generated from the sentences, if it does
    tensorboard/     the curves of metrics.jsonl for TensorBoard, if trainer_args ask for them
"""

from __future__ import annotations

import shutil
from itertools import takewhile
from pathlib import Path
from typing import Any

from smoothcse.encoders.safety import require_safe_folder
from smoothcse.errors import SmoothCSEError
from smoothcse.runs.checkpoints import find_damage, newest_first, newest_intact
from smoothcse.runs.manifest import manifest_file, read_manifest
from smoothcse.runs.metrics import read_metrics

TENSORBOARD = "tensorboard"
"""Folder of the event files, unless TENSORBOARD_LOGGING_DIR names another."""


class RunFolder:
    """Paths and files of one run.

    Args:
        path: Run folder; :func:`~smoothcse.runs.start.take_folder` creates it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.best = self.path / "best"
        self.last = self.path / "last"
        self.checkpoints = self.path / "checkpoints"
        self.texts_file = self.path / "texts.arrow"
        self.metrics_file = self.path / "metrics.jsonl"
        self.manifest_file = manifest_file(self.path)

    def latest_checkpoint(self) -> Path | None:
        """Return the newest complete checkpoint, or None.

        Raises:
            SmoothCSEError: If its model is not safe to load.
        """
        checkpoint = newest_intact(self.checkpoints)
        if checkpoint:
            require_safe_folder(checkpoint, adapters=True)  # read as numbers only
        return checkpoint

    def kept(self) -> str:
        """Return what is kept of a run that cannot continue, as a clause for a message."""
        checkpoint = self.latest_checkpoint()
        return f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint had been written yet"

    def drop_damaged_checkpoints(self, intact: Path | None) -> list[str]:
        """Delete the checkpoints after the newest complete one, and return what was wrong with each.

        Args:
            intact: Result of :meth:`latest_checkpoint`.
        """
        found = []
        for checkpoint in takewhile(lambda path: path != intact, newest_first(self.checkpoints)):
            found.append(f"{checkpoint.name} is skipped: {find_damage(checkpoint)}.")
            shutil.rmtree(checkpoint)
        return found

    @property
    def finished(self) -> bool:
        """Whether the run in this folder has reached its last step; False if there is no run.

        Raises:
            SmoothCSEError: If the manifest is damaged.
        """
        return self.manifest_file.is_file() and read_manifest(self.path).finished

    def metrics(self) -> list[dict[str, Any]]:
        """Return the entries of ``metrics.jsonl``; see :func:`~smoothcse.runs.metrics.read_metrics`."""
        return read_metrics(self.metrics_file)

    def score_at(self, step: int) -> float:
        """Return the dev score after a step of the run in this folder; step 0 is the untrained model.

        Raises:
            SmoothCSEError: If ``metrics.jsonl`` has no such score.
        """
        for entry in self.metrics():
            if entry["step"] == step and "eval_dev_score" in entry:
                return float(entry["eval_dev_score"])
        raise SmoothCSEError(
            f"{self.metrics_file} has no score of {f'step {step}' if step else 'the start'}, so the run cannot be "
            "resumed; restore the file, or start again with --overwrite."
        )
