"""Model folders of a run, ``best`` and ``last``: plain sentence-transformers folders with a note of their step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from smoothcse._utils.atomic import replace_folder
from smoothcse._utils.json_files import read_object
from smoothcse.encoders.projection import strip_projection

NOTE = "smoothcse.json"
"""File beside the weights that records the step and the score of a model."""


def save_model(model: SentenceTransformer, target: Path, note: dict[str, Any]) -> None:
    """Save a model without its projection head, replacing the folder there.

    Args:
        model: Model as trained.
        target: Folder to write.
        note: Step and score, kept in ``smoothcse.json``.
    """
    new = target.with_name(target.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        strip_projection(model).save_pretrained(str(new), create_model_card=False)
        (new / NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8")
        replace_folder(new, target)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def read_note(target: Path) -> dict[str, Any] | None:
    """Return the note that :func:`save_model` wrote, or None if there is none."""
    file = target / NOTE
    return read_object(file, "the note of a run") if file.is_file() else None
