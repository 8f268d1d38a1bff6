"""Table of the training methods by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from pydantic.fields import FieldInfo

from smoothcse.errors import SmoothCSEError, did_you_mean
from smoothcse.methods.settings import MethodSettings

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
"""Name of each method, and the module of this package that defines its ``METHOD``."""


@dataclass(frozen=True)
class Method:
    """A training method.

    Attributes:
        title: Name and source.
        about: Difference from SimCSE, in one sentence.
        loss: Loss class. Takes the model, ``settings`` and the arguments of ``ContrastiveLoss``; creates its state.
        settings: Settings class. Each field is annotated with its limits and its description.
        encodes: Encoder passes per sentence and step; SimCSE has two.
        columns: Columns of text in a batch.
        pairs: Whether the method also trains on labelled pairs and triplets, and on views drawn from the text.
        learns_tokens: Whether it adds tokens to the vocabulary and learns their embeddings.
        symmetric: Whether its contrast has a symmetric form, a loss in both directions.
        own_logits: Whether it makes logits of positive pairs itself, in its contrast or in a second loss.
        reads_weights: Whether it reads weights of the encoder outside of the encoder's forward pass.
        prepare: Function that prepares the encoder for the method, given the settings; None to leave it unchanged.
        add_texts: Function that generates further columns from the dataset of sentences, the untrained encoder, the
            settings, a seed and the console for a progress bar; None if the method needs only the sentences. Called
            once per run, in the main process.
    """

    title: str
    about: str
    loss: type[ContrastiveLoss]
    settings: type[MethodSettings]
    encodes: float = 2.0
    columns: int = 1
    pairs: bool = False
    learns_tokens: bool = False
    symmetric: bool = True
    own_logits: bool = False
    reads_weights: bool = False
    prepare: Callable[[SentenceTransformer, Any], SentenceTransformer] | None = None
    add_texts: Callable[[Dataset, SentenceTransformer, Any, int, Console], FurtherTexts] | None = None


def find_method(name: str) -> Method:
    """Return the method with a name.

    Raises:
        SmoothCSEError: If there is no such method.
    """
    if name not in METHODS:
        raise SmoothCSEError(
            f"There is no method {name!r}.{did_you_mean(name, METHODS)} `smoothcse list methods` lists them all."
        )
    method: Method = importlib.import_module(f"smoothcse.methods.{METHODS[name]}").METHOD
    return method


def read_method(given: object) -> MethodSettings:
    """Return the settings of a method, given its name, a mapping with its name and settings, or its settings.

    Raises:
        SmoothCSEError: If there is no such method or setting, or a value is out of its range.
    """
    if isinstance(given, MethodSettings):
        return given
    values = {"name": given} if isinstance(given, str) else given
    name = values.get("name") if isinstance(values, Mapping) else None
    if not isinstance(values, Mapping) or not isinstance(name, str):
        raise SmoothCSEError(
            f"method is {given!r}, but must be a name, or a mapping with the name and settings, such as "
            "{name: esimcse, queue_size: 80}."
        )
    return make_settings(name, {key: value for key, value in values.items() if key != "name"})


def make_settings(name: str, values: Mapping[str, Any]) -> MethodSettings:
    """Return the checked settings of a method.

    Raises:
        SmoothCSEError: If there is no such method or setting, or a value is out of its range.
    """
    return find_method(name).settings(**{str(key): value for key, value in values.items()})


def describe_settings(kind: type) -> list[tuple[str, str, str]]:
    """Return the name, default and description of each setting."""
    hints = get_type_hints(kind, include_extras=True)
    own = [field for field in fields(kind) if field.name != "name"]
    return [(field.name, str(field.default), _description(hints[field.name])) for field in own]


def _description(annotated: Any) -> str:
    return next(extra.description or "" for extra in get_args(annotated) if isinstance(extra, FieldInfo))
