"""The folder of a run: what stands where, and how it is written without ever being half there.

::

    run.json         resolved configuration, versions, data fingerprint, results, times, memory
    metrics.jsonl    one line per log entry and evaluation
    best/            the selected model, a plain sentence-transformers folder
    last/            the model after the last step, likewise
    checkpoints/     what --resume needs; the host's format
    texts.arrow      texts that the method made for the sentences, for methods that do
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from smoothcse._utils.atomic import replace_folder, write_whole
from smoothcse.encoders.projection import strip_projection
from smoothcse.encoders.safety import require_safe_folder
from smoothcse.errors import SmoothCSEError
from smoothcse.runs.checkpoints import find_damage, newest_first, newest_intact

_LARGEST_FILE = 256 << 20  # bytes; a million log entries take about as many


class RunFolder:
    """Paths and files of one run.

    Args:
        path: Path of the folder; :func:`~smoothcse.runs.start.take_folder` makes it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.best = self.path / "best"
        self.last = self.path / "last"
        self.checkpoints = self.path / "checkpoints"
        self.texts_file = self.path / "texts.arrow"
        self.metrics_file = self.path / "metrics.jsonl"
        self.manifest_file = self.path / "run.json"

    def latest_checkpoint(self) -> Path | None:
        """Return the newest checkpoint that is whole, or None.

        Raises:
            SmoothCSEError: if its model is not one that is safe to load.
        """
        checkpoint = newest_intact(self.checkpoints)
        if checkpoint:
            require_safe_folder(checkpoint)
        return checkpoint

    def kept(self) -> str:
        """Say what is left of a run that cannot go on, as a part of a sentence."""
        checkpoint = self.latest_checkpoint()
        return f"the last good checkpoint is {checkpoint}" if checkpoint else "no checkpoint had been written yet"

    def drop_damaged_checkpoints(self) -> list[str]:
        """Delete the checkpoints that are newer than the newest whole one, and say of each what was wrong with it."""
        found = []
        for checkpoint in newest_first(self.checkpoints):
            damage = find_damage(checkpoint)
            if damage is None:
                break
            found.append(f"{checkpoint.name} is left out: {damage}.")
            shutil.rmtree(checkpoint)
        return found

    @property
    def finished(self) -> bool:
        """Whether the run in this folder has come to its end; False also where there is none.

        Raises:
            SmoothCSEError: if its record is damaged.
        """
        return self.manifest_file.is_file() and self.read_manifest().get("status") == "finished"

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write ``run.json``, whole or not at all."""
        write_whole(self.manifest_file, json.dumps(manifest, indent=2, ensure_ascii=False, default=str) + "\n")

    def read_manifest(self) -> dict[str, Any]:
        """Read ``run.json``.

        Raises:
            SmoothCSEError: if it is damaged.
        """
        manifest = _read_object(self.manifest_file, "the record of a run")
        if not isinstance(manifest.get("config", {}), dict):
            raise SmoothCSEError(f"{self.manifest_file} holds no configuration of a run; give another folder.")
        return manifest

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return the entries of ``metrics.jsonl``; an unfinished last line is left out.

        Raises:
            SmoothCSEError: with the line that is no entry.
        """
        if not self.metrics_file.is_file():
            return []
        lines = _read_text(self.metrics_file, "the metrics of a run").split("\n")
        return [_entry(f"{self.metrics_file}:{number}", line) for number, line in enumerate(lines[:-1], 1) if line]

    def score_at(self, step: int) -> float:
        """Return the score of the evaluation after a step of the run in this folder; step 0 is the untrained start.

        Raises:
            SmoothCSEError: If the metrics do not have it, since somebody else changed them.
        """
        for entry in self.metrics():
            if entry["step"] == step and "eval_dev_score" in entry:
                return float(entry["eval_dev_score"])
        raise SmoothCSEError(
            f"{self.metrics_file} has no score of {f'step {step}' if step else 'the start'}, so the run cannot be "
            "resumed; put the file back, or start anew with --overwrite."
        )

    def save_model(self, model: SentenceTransformer, target: Path, note: dict[str, Any]) -> None:
        """Export a model without its head to ``best`` or ``last``, in place of what is there.

        Args:
            model: as trained.
            target: :attr:`best` or :attr:`last`.
            note: step and score, kept beside the weights in ``smoothcse.json``.
        """
        new = target.with_name(target.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        try:
            strip_projection(model).save_pretrained(str(new), create_model_card=False)
            (new / "smoothcse.json").write_text(json.dumps(note) + "\n", encoding="utf-8")
            replace_folder(new, target)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise

    def note_of(self, target: Path) -> dict[str, Any] | None:
        """Return the note that :meth:`save_model` left in a model folder, or None where there is none."""
        file = target / "smoothcse.json"
        return _read_object(file, "the note of a run") if file.is_file() else None


def _read_text(file: Path, what: str) -> str:
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise SmoothCSEError(f"{file} is larger than {_LARGEST_FILE >> 20} MB, too large to be {what}.")
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SmoothCSEError(f"{file} cannot be read as {what}: {error}.") from error


def _read_object(file: Path, what: str) -> dict[str, Any]:
    return _parsed(str(file), _read_text(file, what), what)


def _parsed(place: str, text: str, what: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SmoothCSEError(f"{place} cannot be read as {what}: {error}.") from error
    if not isinstance(found, dict):
        raise SmoothCSEError(f"{place} cannot be read as {what}: it is no JSON object.")
    return found


def _entry(place: str, line: str) -> dict[str, Any]:
    """Parse an entry: a whole ``step``, and numbers or text by name."""
    entry = _parsed(place, line, "the metrics of a run")
    step = entry.get("step")
    if type(step) is not int or step < 0:
        raise SmoothCSEError(f"{place} cannot be read as the metrics of a run: its step is {step!r}.")
    wrong = next((name for name, value in entry.items() if name.startswith("eval_") and not _is_number(value)), None)
    if wrong:
        raise SmoothCSEError(f"{place} cannot be read as the metrics of a run: {wrong} is {entry[wrong]!r}.")
    return entry


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (type(value) is int and abs(value) < 2**53)
