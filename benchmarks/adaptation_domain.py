"""A domain of the adaptation study, and the scores of an encoder on it.

The probe's documents are removed from the text to train on, and queries are read for scoring alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from smoothcse._utils.choices import InputType, Precision
from smoothcse.corpus import Corpus, load_sentences
from smoothcse.encoders.inference import encode
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.probe import RetrievalProbe, make_probe, probe_score
from smoothcse.evaluation.ranking import Ranking
from smoothcse.evaluation.retrieval import Rankings, RetrievalTask, compare_embeddings
from smoothcse.evaluation.retrieval_data import load_retrieval
from smoothcse.evaluation.score import average
from smoothcse.evaluation.sts import STSTask, evaluate_sts
from smoothcse.training.selection import label_free

PROBE_SEED = 0
WAYS = ("cosine", "fused")
"""Rankings whose MRR is recorded for the labels and for the probe."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Domain:
    """Labelled task and probe of a domain, with their BM25 indices.

    Attributes:
        name: Name of the folder.
        task: Labelled queries.
        probe: Label-free probe of the documents.
        words: BM25 index of the task's documents.
        probe_words: BM25 index of the probe's documents.
    """

    name: str
    task: RetrievalTask
    probe: RetrievalProbe
    words: BM25
    probe_words: BM25

    @property
    def text(self) -> list[str]:
        """Documents to train on: those that the probe does not hold out."""
        return [document for document in self.task.documents if self.probe.allows(document)]


def load_domain(folder: Path, held_out: int, limit: int | None = None) -> Domain:
    """Read a domain in BEIR's layout.

    Args:
        folder: Folder with corpus.jsonl, queries.jsonl and qrels/test.tsv.
        held_out: Documents of the probe.
        limit: Number of documents to keep, from the first; None for all.
    """
    task = load_retrieval(folder)
    if limit is not None:
        asked = np.flatnonzero((task.relevant < limit).all(axis=1))
        queries = [task.queries[row] for row in asked]
        task = RetrievalTask(task.name, queries, task.documents[:limit], task.relevant[asked])
    probe = make_probe(task.documents, held_out=held_out, seed=PROBE_SEED)
    return Domain(folder.resolve().name, task, probe, BM25(task.documents), BM25(probe.documents))


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What every run of a study is scored by.

    Attributes:
        domain: Domain.
        text: Text file to train on, for alignment and uniformity.
        max_length: Tokens per text of the two dropout views of alignment.
        tasks: STS tasks; none to leave them out.
        precision: Arithmetic of the forward passes.
    """

    domain: Domain
    text: Path
    max_length: int
    tasks: Sequence[STSTask] = ()
    precision: Precision = "auto"

    def score(self, model: SentenceTransformer) -> tuple[dict[str, Any], dict[str, Floats]]:
        """Return the scores of a model, and the reciprocal ranks of all queries by name."""
        labelled, probed = self._rankings(model)
        corpus: Corpus = load_sentences(self.text, column="text")
        found = {
            "mrr": {way: _mrr(getattr(labelled, way)) for way in (*WAYS, "bm25")},
            "probe": {way: probe_score(getattr(kind, way) for kind in probed.values()) for way in WAYS},
            "probe_kinds": {name: {way: _mrr(getattr(kind, way)) for way in WAYS} for name, kind in probed.items()},
            "geometry": label_free(corpus, self.max_length).score(model),
            "sts": average(evaluate_sts(model, self.tasks, precision=self.precision)) if self.tasks else None,
        }
        return found, _reciprocal_ranks(labelled, probed)

    def _rankings(self, model: SentenceTransformer) -> tuple[Rankings, dict[str, Rankings]]:
        """Rank for the labelled task and the probe, with each text encoded once."""
        domain, kinds = self.domain, self.domain.probe.tasks
        documents = self._embed(model, [*domain.task.documents, *domain.probe.documents], "document")
        queries = self._embed(
            model, [*domain.task.queries, *(text for task in kinds.values() for text in task.queries)], "query"
        )

        def ranked(task: RetrievalTask, words: BM25) -> Rankings:
            asked, answers = (
                np.stack([known[text] for text in texts])
                for known, texts in ((queries, task.queries), (documents, task.documents))
            )
            return compare_embeddings(asked, answers, task, words)

        return ranked(domain.task, domain.words), {
            kind: ranked(task, domain.probe_words) for kind, task in kinds.items()
        }

    def _embed(self, model: SentenceTransformer, texts: Sequence[str], input_type: InputType) -> dict[str, Floats]:
        distinct = list(dict.fromkeys(texts))
        return dict(zip(distinct, encode(model, distinct, input_type, precision=self.precision), strict=True))


def _mrr(ranking: Ranking) -> float:
    return ranking.metrics()["MRR"]


def _reciprocal_ranks(labelled: Rankings, probed: dict[str, Rankings]) -> dict[str, Floats]:
    found = {way: getattr(labelled, way) for way in (*WAYS, "bm25")}
    found |= {f"probe_{name}_{way}": getattr(kind, way) for name, kind in probed.items() for way in WAYS}
    return {name: ranking.reciprocal_ranks.astype(np.float32) for name, ranking in found.items()}
