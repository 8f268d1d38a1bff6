"""Checkpoints that are known to be whole.

The host writes a checkpoint file by file into its final folder. A seal, written last, makes it count: the size and the
SHA-256 of each file. A folder without a seal was being written when the process died; one whose files differ from its
seal was damaged later. Neither is resumed from.
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

from smoothcse._utils.atomic import sync_folder, write_whole

SEAL = "seal.json"


def seal(checkpoint: Path) -> None:
    """Declare a checkpoint complete, having had the disk take its files."""
    sync_folder(checkpoint)
    files = {str(path.relative_to(checkpoint)): _fingerprint(path) for path in _files(checkpoint)}
    write_whole(checkpoint / SEAL, json.dumps({"files": files}, indent=1) + "\n")


def find_damage(checkpoint: Path) -> str | None:
    """Say why a checkpoint cannot be resumed from, or return None if every file is as it was sealed."""
    try:
        files = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))["files"]
        for name, fingerprint in files.items():
            if not (checkpoint / name).is_file():
                return f"{name} is missing"
            if _fingerprint(checkpoint / name) != fingerprint:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return "it was never finished"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{SEAL} cannot be read ({error})"
    return None


def newest_first(folder: Path) -> list[Path]:
    """Return all checkpoints in a folder, damaged ones included."""
    return sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True)


def newest_intact(folder: Path) -> Path | None:
    """Return the newest checkpoint that can be resumed from, or None."""
    return next((checkpoint for checkpoint in newest_first(folder) if find_damage(checkpoint) is None), None)


def step_of(checkpoint: Path) -> int:
    """Return the step after which a checkpoint was written; -1 for a folder of another name."""
    match = re.search(r"-(\d+)$", checkpoint.name)
    return int(match.group(1)) if match else -1


class SealCheckpoints(TrainerCallback):
    """Seals each checkpoint once all ranks have written their part.

    Args:
        folder: that holds the checkpoints.
        writes: whether this process is the one that writes the seal.
    """

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self.folder = folder
        self.writes = writes

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Seal the checkpoint that was just written."""
        if distributed.is_available() and distributed.is_initialized():
            distributed.barrier()  # each rank saves its own random state
        if self.writes:
            seal(self.folder / f"checkpoint-{state.global_step}")


def _files(checkpoint: Path) -> Iterator[Path]:
    return (path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != SEAL)


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.stat().st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"
