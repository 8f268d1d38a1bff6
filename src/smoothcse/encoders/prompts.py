"""Selection of the prompt for a text.

A *prompt* is text that a model expects in front of each input, such as ``query: ``. A model folder stores its prompts
in ``config_sentence_transformers.json``. The rule is that of sentence-transformers:

============ ========================================= ========================================================
``input_type`` Same as                                 Prompt
============ ========================================= ========================================================
None         ``SentenceTransformer.encode``            the default prompt, if the model names one
query        ``SentenceTransformer.encode_query``      ``query``
document     ``SentenceTransformer.encode_document``   the first of ``document``, ``passage``, ``corpus``
============ ========================================= ========================================================

Queries are the texts that ``search`` and retrieval tasks search for, and in training the sentence of ``--views
sentence`` and the title of ``--views title``. Documents are the texts that ``index`` and retrieval tasks store, and
all other views that training draws from the text. All other texts (dropout views, labelled pairs, ``encode``,
``similarity``, STS, transfer, geometry) have no input type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smoothcse._utils.choices import InputType
from smoothcse.errors import SmoothCSEError, did_you_mean

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_NAMES: dict[InputType | None, tuple[str, ...]] = {
    None: (),
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}


def prompt_of(
    model: SentenceTransformer,
    input_type: InputType | None = None,
    *,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> str:
    """Return the prompt for an input, or an empty string.

    Args:
        model: Any sentence-transformers model.
        input_type: Role of the input: ``"query"``, ``"document"``, or None for any other text.
        prompt_name: Name of one of the model's prompts, which replaces the one for the input type.
        prompt: Prompt that replaces the model's.

    Raises:
        SmoothCSEError: If the model has no prompt of that name, the input type is unknown, or both a name and a prompt
            are given.
    """
    if input_type not in _NAMES:
        raise SmoothCSEError(f"input_type {input_type!r} is unknown; choose query or document.")
    if prompt is not None and prompt_name is not None:
        raise SmoothCSEError("Both a prompt and a prompt_name are given; give one of them.")
    if prompt is not None:
        return prompt
    if prompt_name is not None:
        return _named(model, prompt_name)
    found = next((name for name in _NAMES[input_type] if name in model.prompts), model.default_prompt_name)
    text: str | None = model.prompts.get(found) if found is not None else None
    return text or ""


def has_prompts(model: SentenceTransformer) -> bool:
    """Return whether a model has a prompt that is not empty."""
    return any(model.prompts.values())


def _named(model: SentenceTransformer, name: str) -> str:
    if name not in model.prompts:
        there = ", ".join(model.prompts) or "none"
        raise SmoothCSEError(
            f"The model has no prompt {name!r}; it has: {there}.{did_you_mean(name, list(model.prompts))}"
        )
    text: str = model.prompts[name]
    return text
