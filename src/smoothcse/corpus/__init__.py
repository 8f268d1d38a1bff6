"""Reading, cleaning and de-duplicating sentences: from whatever the user has to one Arrow column of text."""

from __future__ import annotations

from smoothcse.corpus.corpus_report import CorpusReport
from smoothcse.corpus.load import Corpus, load_sentences

__all__ = ["Corpus", "CorpusReport", "load_sentences"]
