"""Documents as a corpus: files, folders and columns of long texts, split into passages that know their place.

The readers and helpers that the extra ``documents`` installs, and why these:

* ``lxml`` for HTML. Its event parser is linear in the size of the page, however deep the elements nest; selectolax
  took minutes for 200,000 nested elements, and trafilatura guesses which parts of a page matter.
* ``markdown-it-py`` for Markdown, a CommonMark parser. Its HTML is read like any other.
* ``pypdf`` for PDF: pure Python, with limits on what compressed streams expand to.
* ``python-docx`` for DOCX, on lxml without entities and network.
* ``semchunk`` splits at paragraphs, sentences and clauses, in that order, keeps to a limit of tokens, and returns
  offsets. It needs no language model; pysbd has had no release since 2021.
* ``rensa`` finds near-duplicates by MinHash, in Rust: 20,000 passages of 100 words take two seconds on one core. In
  datasketch each signature and each entry of the index is a Python object.
"""

from __future__ import annotations

from smoothcse.corpus.documents.document_corpus import DocumentCorpus, load_documents
from smoothcse.corpus.documents.document_report import DocumentReport

__all__ = ["DocumentCorpus", "DocumentReport", "load_documents"]
