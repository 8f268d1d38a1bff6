"""Verification of checkpoints by checksums.

The trainer writes a checkpoint file by file into its final folder. The checksum manifest, ``checksums.json``, with the
size and the SHA-256 of each file, is written last. A checkpoint without it was incomplete when the process died, and
one whose files do not match was damaged later. Runs are not resumed from such checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smoothcse._utils.atomic import fsync_tree, write_text_atomic

CHECKSUMS = "checksums.json"
"""Name of the checksum manifest."""

_OLD_CHECKSUMS = "seal.json"  # its name in earlier versions


def write_checksums(checkpoint: Path) -> None:
    """Mark a checkpoint as complete, after all of its files have been written to disk."""
    fsync_tree(checkpoint)
    files = {str(path.relative_to(checkpoint)): _fingerprint(path) for path in _files(checkpoint)}
    write_text_atomic(checkpoint / CHECKSUMS, json.dumps({"files": files}, indent=1) + "\n")


def find_damage(checkpoint: Path) -> str | None:
    """Return why a run cannot be resumed from a checkpoint; None if every file matches its checksum."""
    checksums = _checksums_of(checkpoint)
    try:
        files = json.loads(checksums.read_text(encoding="utf-8"))["files"]
        for name, fingerprint in files.items():
            if not (checkpoint / name).is_file():
                return f"{name} is missing"
            if _fingerprint(checkpoint / name) != fingerprint:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return "it was never finished"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{checksums.name} cannot be read ({error})"
    return None


def newest_first(folder: Path) -> list[Path]:
    """Return all checkpoints in a folder, damaged ones included."""
    return sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)


def newest_intact(folder: Path) -> Path | None:
    """Return the newest complete checkpoint, or None."""
    return next((checkpoint for checkpoint in newest_first(folder) if find_damage(checkpoint) is None), None)


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint; -1 for a folder with another name."""
    match = re.search(r"-(\d+)$", checkpoint.name)
    return int(match.group(1)) if match else -1


class WriteChecksums(TrainerCallback):
    """Callback that writes the checksum manifest of each checkpoint after all ranks have written their part.

    Args:
        folder: Folder of the checkpoints.
        writes: Whether this process writes files.
    """

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self.folder = folder
        self.writes = writes

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mark the new checkpoint as complete."""
        if distributed.is_available() and distributed.is_initialized():
            distributed.barrier()  # each rank saves its own random state
        if self.writes:
            write_checksums(self.folder / f"checkpoint-{state.global_step}")


def _checksums_of(checkpoint: Path) -> Path:
    old = checkpoint / _OLD_CHECKSUMS
    return old if old.is_file() else checkpoint / CHECKSUMS


def _files(checkpoint: Path) -> Iterator[Path]:
    ours = (CHECKSUMS, _OLD_CHECKSUMS)
    return (path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name not in ours)


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.stat().st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"
