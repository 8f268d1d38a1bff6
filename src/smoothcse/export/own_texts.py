"""The text that a model was trained on, on which its export is compared with it: other text may hide a difference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from smoothcse.corpus import load_sentences
from smoothcse.corpus.sources import PYTHON_DOCS
from smoothcse.errors import SmoothCSEError
from smoothcse.runs.manifest import manifest_file, read_manifest

_ADAPTED_TEXT = "text.jsonl"  # passages in the folder of an adaptation, which holds adapt.json as well
_ADAPTATION = "adapt.json"


@dataclass(frozen=True)
class ComparisonTexts:
    """Sentences to compare two formats of a model on.

    Attributes:
        texts: Random sample of the source.
        kind: The source in words without a path, for the record, which is uploaded with the model.
        origin: The source in words, as the end of a sentence that starts with "The sentences are".
    """

    texts: list[str]
    kind: str
    origin: str


def comparison_texts(model: str, source: str | None, count: int) -> ComparisonTexts:
    """Return sentences of a source, or by default of the text that a model was trained on.

    Args:
        model: Model that is exported: a run folder or the folder of an adaptation, or the model folder in one. Others
            have no record of their text.
        source: Source of sentences. Default: the recorded text, or ``python-docs`` if there is none that can be read.
        count: Maximum number of sentences.

    Raises:
        SmoothCSEError: If the source cannot be read.
    """
    if source is not None:
        return ComparisonTexts(_sample(source, count), "text that was given", f"from {source}")
    reason = "of which no training text is recorded"
    try:
        if recorded := _recorded(model, count):
            return recorded
    except SmoothCSEError as error:
        reason = f"whose training text cannot be read ({str(error).removesuffix('.')})"
    origin = f"from the Python documentation, not from text of this model, {reason}; give your own with --texts"
    return ComparisonTexts(_sample(PYTHON_DOCS, count), "the Python documentation", origin)


def _recorded(model: str, count: int) -> ComparisonTexts | None:
    """Return a sample of the recorded training text of a model; None if there is no record."""
    for folder in (Path(model), Path(model).absolute().parent):
        if (folder / _ADAPTATION).is_file():
            file = folder / _ADAPTED_TEXT
            kind, texts = "the documents of the adaptation", _sample(file, count, "text")
            return ComparisonTexts(texts, kind, f"from {kind} ({file})")
        if manifest_file(folder).is_file():
            config = read_manifest(folder).train_config(where=folder)
            texts = _sample(config.corpus, count, config.columns[0] if config.columns else config.column)
            return ComparisonTexts(texts, "the training text", f"from the training text ({config.corpus})")
    return None


def _sample(source: str | Path, count: int, column: str | None = None) -> list[str]:
    texts: list[str] = load_sentences(source, column=column, limit=count).dataset["sentence"][:]
    return texts
