"""Loading of a spaCy pipeline for English."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smoothcse._utils.extras import extra
from smoothcse.errors import SmoothCSEError

if TYPE_CHECKING:
    from spacy.language import Language


def load_parser(pipeline: str) -> Language:
    """Load a spaCy pipeline with a tagger and a parser.

    Args:
        pipeline: Name of an installed pipeline. Folders are not accepted, since they could run code.

    Raises:
        SmoothCSEError: If spaCy or the pipeline is not installed, or the pipeline lacks a component.
    """
    with extra("negation", "Negation by spaCy (negation=rules works without it)"):
        import spacy
    if not spacy.util.is_package(pipeline):
        raise SmoothCSEError(
            f"The spaCy pipeline {pipeline!r} is not installed: run `python -m spacy download {pipeline}`, or set "
            "negation=rules."
        )
    parser = spacy.load(pipeline, exclude=["ner"])
    missing = {"tagger", "parser"} - set(parser.pipe_names)
    if missing:
        raise SmoothCSEError(
            f"The spaCy pipeline {pipeline!r} has no {' and no '.join(sorted(missing))}, which negation needs; "
            "choose another, such as en_core_web_sm, or set negation=rules."
        )
    return parser
