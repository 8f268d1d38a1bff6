"""Model folders of a run, ``best`` and ``last``: plain sentence-transformers folders with a note of their step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from smoothcse._utils.atomic import replace_folder
from smoothcse._utils.json_files import read_object
from smoothcse.encoders.lora import merged
from smoothcse.encoders.projection import strip_projection

NOTE = "smoothcse.json"
"""File beside the weights that records the step and the score of a model."""


def save_model(model: SentenceTransformer, target: Path, note: dict[str, Any], *, keep_adapters: bool = False) -> None:
    """Save a model without its projection head and with its adapters merged, replacing the folder there.

    Args:
        model: Model as trained.
        target: Folder to write.
        note: Step and score, kept in ``smoothcse.json``.
        keep_adapters: Whether to save the adapters, too, in the folder ``target-adapters``. They are written first:
            after a kill between the two, the resumed run writes both again.
    """
    model = strip_projection(model)
    if keep_adapters:
        _save(model, adapters_of(target), note)
    _save(merged(model), target, note)


def adapters_of(target: Path) -> Path:
    """Return the folder of the adapters of a model folder."""
    return target.with_name(f"{target.name}-adapters")


def _save(model: SentenceTransformer, target: Path, note: dict[str, Any]) -> None:
    new = target.with_name(target.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        model.save_pretrained(str(new), create_model_card=False)
        (new / NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8")
        replace_folder(new, target)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def read_note(target: Path) -> dict[str, Any] | None:
    """Return the note that :func:`save_model` wrote, or None if there is none."""
    file = target / NOTE
    return read_object(file, "the note of a run") if file.is_file() else None
