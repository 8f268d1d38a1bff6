"""The methods that can be trained, by name: each is a loss, its settings, and what it keeps between steps."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from pydantic import ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass
from pydantic.fields import FieldInfo

from smoothcse._utils.validation import CHECKED, first_problem
from smoothcse.errors import SmoothCSEError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset
    from rich.console import Console
    from sentence_transformers import SentenceTransformer

    from smoothcse.methods.base import ContrastiveLoss
    from smoothcse.views.further import FurtherTexts

METHODS = {
    "simcse": "simcse",
    "esimcse": "esimcse",
    "is-cse": "is_cse",
    "sncse": "sncse",
    "conpvp": "conpvp",
    "promptbert": "promptbert",
    "simcse++": "simcse_pp",
    "debcse": "debcse",
    "arccon": "arccon",
}
"""Name of each method, and the file in this folder that holds its ``METHOD``."""


@checked_dataclass(config=CHECKED, frozen=True)
class NoSettings:
    """Of a method that has none of its own."""


@dataclass(frozen=True)
class Method:
    """A way to learn from sentences.

    Attributes:
        title: name and source.
        about: what it adds to SimCSE, in a sentence.
        loss: takes the model, ``settings`` and the arguments of ``ContrastiveLoss``; its state is made with it.
        settings: a dataclass, each field annotated with its limits and its description.
        encodes: of a sentence per step; SimCSE has two.
        columns: of text that a batch has.
        pairs: whether it learns from labelled pairs and triplets, too.
        prepare: turns the encoder into the method's, given the settings; None to leave it as it is.
        add_texts: makes the further columns, given the dataset of sentences, the encoder as it starts, the settings,
            a seed, and the console for a bar; None where the sentences are all it needs. Called once for a run, in its
            main process.
    """

    title: str
    about: str
    loss: type[ContrastiveLoss]
    settings: type = NoSettings
    encodes: float = 2.0
    columns: int = 1
    pairs: bool = False
    prepare: Callable[[SentenceTransformer, Any], SentenceTransformer] | None = None
    add_texts: Callable[[Dataset, SentenceTransformer, Any, int, Console], FurtherTexts] | None = None


def find_method(name: str) -> Method:
    """Return a method.

    Raises:
        SmoothCSEError: if there is none of this name.
    """
    if name not in METHODS:
        raise SmoothCSEError(
            f"There is no method {name!r}.{did_you_mean(name, METHODS)} `smoothcse list methods` lists them all."
        )
    method: Method = importlib.import_module(f"smoothcse.methods.{METHODS[name]}").METHOD
    return method


def make_settings(name: str, values: Mapping[str, Any]) -> Any:
    """Return the checked settings of a method.

    Raises:
        SmoothCSEError: with the setting that is unknown or out of its range.
    """
    kind = find_method(name).settings
    known = [field.name for field in fields(kind)]
    for setting in values:
        if setting not in known:
            have = f"it has {', '.join(known)}" if known else "it has none"
            raise SmoothCSEError(
                f"The method {name} has no setting {setting!r}; {have}.{did_you_mean(str(setting), known)}"
            )
    try:
        return kind(**values)
    except ValidationError as error:
        raise SmoothCSEError(f"Settings of the method {name}: {first_problem(error)}.") from error


def describe_settings(kind: type) -> list[tuple[str, str, str]]:
    """Return name, default and description of each setting."""
    hints = get_type_hints(kind, include_extras=True)
    return [(field.name, str(field.default), _description(hints[field.name])) for field in fields(kind)]


def _description(annotated: Any) -> str:
    return next(extra.description or "" for extra in get_args(annotated) if isinstance(extra, FieldInfo))
