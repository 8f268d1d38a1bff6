"""The folder of a run: what stands where, and how it is written without ever being half there.

::

    run.json         resolved configuration, versions, data fingerprint, results, times
    metrics.jsonl    one line per log entry and evaluation
    best/            the selected model, a plain sentence-transformers folder
    last/            the model after the last step, likewise
    checkpoints/     what --resume needs; the host's format
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from smoothcse.durable import recover_folder, replace_folder, write_whole
from smoothcse.encoder import strip_projection
from smoothcse.errors import SmoothCSEError
from smoothcse.training.checkpoints import find_damage, newest_first, newest_intact, step_of
from smoothcse.training.config import changed_fields


class RunFolder:
    """Paths and files of one run.

    Args:
        path: of the folder; it is made by :meth:`start`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.best = self.path / "best"
        self.last = self.path / "last"
        self.checkpoints = self.path / "checkpoints"
        self.metrics_file = self.path / "metrics.jsonl"
        self.manifest_file = self.path / "run.json"

    def start(self, config: dict[str, Any], *, resume: bool, overwrite: bool) -> Path | None:
        """Make the folder ready for a new run, or find where a resumed one goes on.

        Args:
            config: of the run to come, as plain values.
            resume: continue the run in this folder.
            overwrite: throw away the run in this folder.

        Returns:
            The checkpoint to go on from, or None to begin at step 0.

        Raises:
            SmoothCSEError: if the folder holds something else, or a resumed run's configuration has changed.
        """
        if self.path.exists() and not self.path.is_dir():
            raise SmoothCSEError(f"{self.path} is a file; give a folder for the output.")
        if resume and self.manifest_file.is_file():
            self._check_unchanged(config)
            recover_folder(self.best)
            checkpoint = self.latest_checkpoint()
            self._forget_metrics_after(step_of(checkpoint) if checkpoint else -1)
            return checkpoint
        if resume:
            raise SmoothCSEError(f"{self.path} holds no run to resume; leave out --resume to start one there.")
        self._clear(overwrite)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SmoothCSEError(f"The output folder {self.path} cannot be made: {error.strerror}.") from error
        return None

    def latest_checkpoint(self) -> Path | None:
        """Return the newest checkpoint that is whole, or None."""
        return newest_intact(self.checkpoints)

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
        """Read ``run.json``."""
        try:
            return json.loads(self.manifest_file.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
        except (OSError, ValueError) as error:
            raise SmoothCSEError(f"{self.manifest_file} cannot be read as the record of a run: {error}.") from error

    def log(self, entry: dict[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """Return the entries of ``metrics.jsonl``; an unfinished last line is left out."""
        if not self.metrics_file.is_file():
            return []
        lines = self.metrics_file.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]

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
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def _check_unchanged(self, config: dict[str, Any]) -> None:
        before = self.read_manifest().get("config", {})
        changed = [
            f"{name} ({before.get(name)!r} then, {config[name]!r} now)" for name in changed_fields(before, config)
        ]
        if changed:
            raise SmoothCSEError(
                f"The run in {self.path} cannot be resumed with another configuration; changed: {', '.join(changed)}."
            )

    def _forget_metrics_after(self, step: int) -> None:
        kept = [entry for entry in self.metrics() if entry["step"] <= step]
        write_whole(self.metrics_file, "".join(json.dumps(entry) + "\n" for entry in kept))

    def _clear(self, overwrite: bool) -> None:
        if not any(path.is_file() for path in self.path.rglob("*")):  # folders are left by a start that failed
            return
        if not self.manifest_file.is_file():
            raise SmoothCSEError(f"{self.path} holds files that are no run of ours; give an empty or a new folder.")
        if not overwrite:
            raise SmoothCSEError(
                f"{self.path} holds another run; continue it with --resume, replace it with --overwrite, "
                "or give another --output."
            )
        shutil.rmtree(self.path)
