"""A probe that needs no labels: held-out documents, and queries made from them that must find the rest again.

From each held-out document, up to three queries are made:

======== ================================================ =====================
kind     query                                            stands for
======== ================================================ =====================
sentence one sentence                                     a question in prose
crop     4 to 30 consecutive words, about a fifth         a remembered passage
title    the title, where there is one of its own         a few keywords
======== ================================================ =====================

Sentence and crop do not overlap, and both are removed from the document; what is left must be found among all
documents. A title in front of a document is removed as well, from all documents alike. All kinds share one list of
documents, so that a model encodes it once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray
from sentencex import segment

from smoothcse._utils.choices import Precision
from smoothcse.encoders.inference import encode
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.fusion import COSINE_WEIGHT
from smoothcse.evaluation.probe_cuts import LEAST_QUERY, LEAST_REST, Cut, cut_queries, shared_sentences
from smoothcse.evaluation.ranking import Ranking
from smoothcse.evaluation.retrieval import Rankings, RetrievalTask, compare_embeddings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Kind = Literal["sentence", "crop", "title"]


@dataclass(frozen=True, eq=False)
class RetrievalProbe:
    """Queries made from held-out documents, by kind.

    Attributes:
        tasks: Retrieval task of each kind; all of them have the same list of documents.
        held_out: Fingerprints of the documents that must not be trained on, see :func:`document_id`.
        source_of: Number of the source of each document, ``(d,)``. Queries of one source are not independent.
    """

    tasks: Mapping[Kind, RetrievalTask]
    held_out: frozenset[str]
    source_of: NDArray[np.int64]

    @property
    def documents(self) -> list[str]:
        """All documents, the held-out ones without their queries."""
        return next(iter(self.tasks.values())).documents

    def pooled(self) -> RetrievalTask:
        """Return one task with the queries of all kinds, kind by kind."""
        tasks = list(self.tasks.values())
        queries = [query for task in tasks for query in task.queries]
        return RetrievalTask("probe", queries, self.documents, np.concatenate([task.relevant for task in tasks]))

    def allows(self, document: str) -> bool:
        """Return whether a document may be trained on."""
        return document_id(document) not in self.held_out


def document_id(text: str) -> str:
    """Return the fingerprint of a document: 32 hex digits that depend on its words and not on white space."""
    return xxhash.xxh3_128_hexdigest(" ".join(text.split()).encode())


def make_probe(
    documents: Sequence[str],
    *,
    titles: Sequence[str | None] | None = None,
    sources: Sequence[Hashable] | None = None,
    held_out: int = 300,
    held_out_sources: int | None = None,
    among: int = 10_000,
    seed: int = 0,
    language: str = "en",
) -> RetrievalProbe:
    """Hold out some documents, and make queries from them.

    The choice depends on the seed and on the texts, and not on their order. A document is suitable if it has a
    sentence of at least four words that occurs in no other document, and at least eight words besides its queries.

    Args:
        documents: Documents or passages.
        titles: Title of each document, or None for a document without one. Titles that several documents share make
            no query.
        sources: Source of each passage, e.g. the number of its document. If a passage is held out, all passages of its
            source are, since they may overlap. Default: each document is its own source.
        held_out: Number of documents to make queries from; fewer if fewer are suitable.
        held_out_sources: Maximum number of sources to hold out. With fewer sources than ``held_out``, several passages
            of each make queries. Default: no limit.
        among: Maximum number of documents to find the held-out ones among, which bounds the cost of the probe.
        seed: Seed of the choice and of the queries.
        language: ISO 639 code of the language, whose abbreviations end no sentence.

    Raises:
        SmoothCSEError: No document, or only one, is suitable, or the number of titles or sources differs from the
            number of documents.
    """
    _check_lengths(documents, titles=titles, sources=sources)
    source = sources or range(len(documents))
    order = _drawn_order(documents, seed)[: max(among, held_out)]
    titles_of = {place: title for place in order if titles and (title := (titles[place] or "").strip())}
    bodies = {place: _without_title(documents[place], titles_of.get(place)) for place in order}
    pieces = {place: list(segment(language, body)) for place, body in bodies.items()}
    shared = shared_sentences(pieces.values())
    cuts = _choose(
        order,
        source,
        lambda place: cut_queries(pieces[place], shared, _generator(documents[place], seed)),
        held_out,
        held_out_sources or len(documents),
    )
    if len(cuts) < 2:
        raise SmoothCSEError(
            f"{len(cuts)} of {len(documents)} documents can be held out to probe with; a probe needs at least 2 that "
            f"have a sentence of their own of {LEAST_QUERY} words or more, and {LEAST_REST} words besides. Give "
            "more or longer documents."
        )
    return RetrievalProbe(
        tasks=_tasks(bodies, cuts, _own_titles(titles_of)),
        held_out=_held_out(documents, cuts, source),
        source_of=_numbered(source[place] for place in bodies),
    )


def evaluate_probe(
    model: SentenceTransformer,
    probe: RetrievalProbe,
    bm25: BM25,
    *,
    cosine_weight: float = COSINE_WEIGHT,
    batch_size: int | None = None,
    precision: Precision = "fp32",
    show_progress: bool = False,
) -> dict[Kind, Rankings]:
    """Rank all documents of a probe for each of its queries, by cosine similarity, by BM25, and by both.

    The documents are encoded once. Each :class:`~smoothcse.evaluation.ranking.Ranking` holds the reciprocal rank of
    each query, which a paired bootstrap compares between models.

    Args:
        model: Encoder.
        probe: Probe to score by.
        bm25: Index of ``probe.documents``.
        cosine_weight: Weight of the cosine similarity in the fused score, from 0 to 1.
        batch_size: Texts per batch. Default: chosen for the device.
        precision: Arithmetic of the forward passes, see :func:`~smoothcse.encoders.inference.encode`.
        show_progress: Whether to show a progress bar.
    """
    options: dict[str, Any] = {"batch_size": batch_size, "precision": precision, "show_progress": show_progress}
    documents = encode(model, probe.documents, "document", **options)
    return {
        kind: compare_embeddings(encode(model, task.queries, "query", **options), documents, task, bm25, cosine_weight)
        for kind, task in probe.tasks.items()
    }


def probe_score(rankings: Iterable[Ranking]) -> float:
    """Return the criterion of selection: the mean over the kinds of query of their MRR, in percent.

    Args:
        rankings: Ranking of each kind, e.g. all by cosine similarity, or all fused.
    """
    return float(np.mean([ranking.metrics()["MRR"] for ranking in rankings]))


def _check_lengths(documents: Sequence[str], **columns: Sequence[object] | None) -> None:
    for name, column in columns.items():
        if column is not None and len(column) != len(documents):
            raise SmoothCSEError(
                f"There are {len(column)} {name} for {len(documents)} documents; give one for each document."
            )


def _drawn_order(documents: Sequence[str], seed: int) -> list[int]:
    """Return the documents' places in an order drawn by seed and text; of equal documents, the first one."""
    places: dict[str, int] = {}
    for place, text in enumerate(documents):
        places.setdefault(xxhash.xxh3_128_hexdigest(f"{seed} {document_id(text)}".encode()), place)
    return [places[key] for key in sorted(places)]


def _choose(
    order: Iterable[int],
    source: Sequence[Hashable],
    cut: Callable[[int], Cut | None],
    held_out: int,
    held_out_sources: int,
) -> dict[int, Cut]:
    """Cut the first suitable documents in an order, of at most so many sources."""
    cuts: dict[int, Cut] = {}
    chosen: set[Hashable] = set()
    for place in order:
        if len(cuts) == held_out:
            break
        allowed = source[place] in chosen or len(chosen) < held_out_sources
        if allowed and (found := cut(place)):
            cuts[place] = found
            chosen.add(source[place])
    return cuts


def _held_out(documents: Sequence[str], cuts: Iterable[int], source: Sequence[Hashable]) -> frozenset[str]:
    chosen = {source[place] for place in cuts}
    return frozenset(document_id(text) for text, own in zip(documents, source, strict=True) if own in chosen)


def _numbered(sources: Iterable[Hashable]) -> NDArray[np.int64]:
    """Return a number for each source, equal for equal ones, from 0 in the order of the first occurrences."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(source, len(numbers)) for source in sources], dtype=np.int64)


def _without_title(document: str, title: str | None) -> str:
    return document.lstrip().removeprefix(title).lstrip() if title else document


def _own_titles(titles: Mapping[int, str]) -> dict[int, str]:
    """Return the titles that belong to one document only."""
    counts = Counter(titles.values())
    return {place: title for place, title in titles.items() if counts[title] == 1}


def _generator(document: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, int(document_id(document), 16)])


def _tasks(bodies: Mapping[int, str], cuts: Mapping[int, Cut], titles: Mapping[int, str]) -> dict[Kind, RetrievalTask]:
    documents = [cuts[place].rest if place in cuts else body for place, body in bodies.items()]
    row_of = {place: row for row, place in enumerate(bodies)}
    queries: dict[Kind, dict[int, str]] = {
        "sentence": {place: cut.sentence for place, cut in cuts.items()},
        "crop": {place: cut.crop for place, cut in cuts.items()},
        "title": {place: titles[place] for place in cuts if place in titles},
    }
    return {
        kind: RetrievalTask(kind, list(asked.values()), documents, np.array([row_of[place] for place in asked]))
        for kind, asked in queries.items()
        if asked
    }
