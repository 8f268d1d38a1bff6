"""spaCy, where it is installed with an English pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smoothcse._utils.extras import extra
from smoothcse.errors import SmoothCSEError

if TYPE_CHECKING:
    from spacy.language import Language


def load_parser(pipeline: str) -> Language:
    """Return a spaCy pipeline that tags and parses.

    Args:
        pipeline: name of an installed one. A folder is not taken: it could run code of its own.

    Raises:
        SmoothCSEError: with what is missing, and the command that installs it.
    """
    with extra("negation", "Negation by spaCy (negation=rules does without it)"):
        import spacy
    if not spacy.util.is_package(pipeline):
        raise SmoothCSEError(
            f"spaCy has no pipeline {pipeline!r} here: python -m spacy download {pipeline}; or set negation=rules."
        )
    parser = spacy.load(pipeline, exclude=["ner"])
    missing = {"tagger", "parser"} - set(parser.pipe_names)
    if missing:
        raise SmoothCSEError(
            f"The spaCy pipeline {pipeline!r} has no {' and no '.join(sorted(missing))}, which negation needs; "
            "take another, such as en_core_web_sm, or set negation=rules."
        )
    return parser
