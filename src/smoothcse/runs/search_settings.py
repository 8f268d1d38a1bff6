"""``smoothcse_search.json`` in a model folder: how documents are searched with the model, by default."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from sentence_transformers.util import load_file_path

from smoothcse._utils.atomic import explain_unwritable, write_text_atomic
from smoothcse._utils.choices import Rerank
from smoothcse._utils.json_files import read_object
from smoothcse._utils.validation import CHECKED, in_one_sentence
from smoothcse.encoders.load import model_source
from smoothcse.errors import SmoothCSEError

SEARCH_SETTINGS = "smoothcse_search.json"
"""File beside the weights; an ordinary file of the model, which is copied, exported and uploaded with it."""


@dataclass(config=CHECKED, frozen=True, kw_only=True)
class SearchSettings:
    """Defaults of a search.

    Attributes:
        cosine_weight: Weight of the cosine similarity, from 0 to 1; BM25 has the rest.
        rerank: Second stage. Files of earlier versions do not have it.
    """

    cosine_weight: Annotated[float, Field(ge=0, le=1, strict=True)]
    rerank: Rerank = "none"

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values: Any, build: Callable[[Any], Self]) -> Self:
        return in_one_sentence(values, build)


def write_search_settings(folder: Path, settings: SearchSettings) -> None:
    """Write the search settings of a model into its folder.

    Args:
        folder: Model folder.
        settings: Defaults of a search.

    Raises:
        SmoothCSEError: If the file cannot be written.
    """
    file = folder / SEARCH_SETTINGS
    with explain_unwritable(file):
        write_text_atomic(file, json.dumps(dataclasses.asdict(settings)) + "\n")


def read_search_settings(folder: Path) -> SearchSettings | None:
    """Return the search settings in a model folder; None if the folder has no such file.

    Args:
        folder: Model folder.

    Raises:
        SmoothCSEError: If the file is damaged.
    """
    file = folder / SEARCH_SETTINGS
    return _read(file) if file.exists() else None


def find_search_settings(model: str | Path) -> SearchSettings | None:
    """Return the search settings that come with a model; None if none do.

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


def _read(file: Path) -> SearchSettings:
    values = read_object(file, "the search settings of a model")
    try:
        return SearchSettings(**values)
    except SmoothCSEError as error:
        problem = str(error).removesuffix(".")
        raise SmoothCSEError(
            f"{file} cannot be read as the search settings of a model: {problem}; fix or delete the file."
        ) from error
