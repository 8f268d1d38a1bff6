"""Reading, cleaning and de-duplication of text: from files, folders and datasets to Arrow columns."""

from __future__ import annotations

from smoothcse.corpus.corpus_report import CorpusReport
from smoothcse.corpus.load import Corpus, load_sentences

__all__ = ["Corpus", "CorpusReport", "load_sentences"]
