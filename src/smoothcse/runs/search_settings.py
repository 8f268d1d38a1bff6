"""``smoothcse_search.json`` in a model folder: the weight of the model's cosine similarity beside BM25."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from sentence_transformers.util import load_file_path

from smoothcse._utils.atomic import explain_unwritable, write_text_atomic
from smoothcse._utils.json_files import read_object
from smoothcse._utils.validation import CHECKED, first_problem
from smoothcse.encoders.load import model_source
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.fusion import check_weight

SEARCH_SETTINGS = "smoothcse_search.json"
"""File beside the weights; an ordinary file of the model, which is copied, exported and uploaded with it."""


@dataclass(frozen=True, config=CHECKED)
class _SearchSettings:
    cosine_weight: Annotated[float, Field(ge=0, le=1, strict=True)]


def write_search_settings(folder: Path, cosine_weight: float) -> None:
    """Write the weight of the cosine similarity into a model folder.

    Args:
        folder: Model folder.
        cosine_weight: Weight of the cosine similarity, from 0 to 1; BM25 has the rest.

    Raises:
        SmoothCSEError: If the weight is outside 0..1, or the file cannot be written.
    """
    check_weight(cosine_weight)
    file = folder / SEARCH_SETTINGS
    with explain_unwritable(file):
        write_text_atomic(file, json.dumps({"cosine_weight": float(cosine_weight)}) + "\n")


def read_search_settings(folder: Path) -> float | None:
    """Return the weight of the cosine similarity in a model folder; None if the folder has no such file.

    Args:
        folder: Model folder.

    Raises:
        SmoothCSEError: If the file is damaged.
    """
    file = folder / SEARCH_SETTINGS
    return _read(file) if file.exists() else None


def find_search_settings(model: str | Path) -> float | None:
    """Return the weight of the cosine similarity that comes with a model; None if none does.

    Args:
        model: Run folder (its ``best``), model folder or Hub name.

    Raises:
        SmoothCSEError: If the file is damaged.
    """
    try:
        found = load_file_path(model_source(model), SEARCH_SETTINGS)
    except (OSError, ValueError):  # the Hub cannot be reached, and the model was read from the cache
        return None
    return None if found is None else _read(Path(found))


def _read(file: Path) -> float:
    values = read_object(file, "the search settings of a model")
    try:
        return TypeAdapter(_SearchSettings).validate_python(values).cosine_weight
    except ValidationError as error:
        raise SmoothCSEError(
            f"{file} cannot be read as the search settings of a model: {first_problem(error)}; fix or delete the file."
        ) from error
