"""Reading, cleaning and de-duplicating sentences: from whatever the user has to one Arrow column of text."""

from __future__ import annotations

from smoothcse.corpus.load import Corpus, load_sentences
from smoothcse.corpus.report import CorpusReport

__all__ = ["Corpus", "CorpusReport", "load_sentences"]
