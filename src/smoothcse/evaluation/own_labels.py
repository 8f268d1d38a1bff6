"""The user's own labels, often few: queries with their documents, scored pairs, or triplets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from smoothcse._utils.choices import Precision
from smoothcse._utils.paths import local_path
from smoothcse.corpus.formats import COMPRESSIONS, is_supported
from smoothcse.errors import SmoothCSEError
from smoothcse.evaluation.bm25 import BM25
from smoothcse.evaluation.data import has_stsb_dev
from smoothcse.evaluation.fusion import COSINE_WEIGHT
from smoothcse.evaluation.item_scores import ItemScores, score_pairs, score_queries, score_triplets
from smoothcse.evaluation.label_files import (
    NEEDS,
    LabelKind,
    ScoredPairs,
    Triplets,
    read_scored_pairs,
    read_triplets,
    recognise_columns,
)
from smoothcse.evaluation.labelled_corpus import add_corpus
from smoothcse.evaluation.retrieval import RetrievalTask
from smoothcse.evaluation.retrieval_data import is_beir_folder, is_pairs_file, load_retrieval

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

METRICS: dict[LabelKind, str] = {"queries": "MRR x 100", "pairs": "Spearman x 100", "triplets": "accuracy x 100"}

FEW = 50
"""Number of items below which a note says how little they tell."""

_DEV = "dev"  # the split of a BEIR folder with several


@dataclass(frozen=True, eq=False)
class OwnLabels:
    """Labels of one kind, to score models by.

    Attributes:
        name: Name of the file or folder, for reports.
        data: Queries and documents, scored pairs, or triplets.
        notes: Warnings, one sentence each.
    """

    name: str
    data: RetrievalTask | ScoredPairs | Triplets
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> LabelKind:
        """``"queries"``, ``"pairs"`` or ``"triplets"``."""
        kinds: dict[type, LabelKind] = {RetrievalTask: "queries", ScoredPairs: "pairs", Triplets: "triplets"}
        return kinds[type(self.data)]

    @property
    def metric(self) -> str:
        """Displayed name of the metric, such as ``MRR x 100``."""
        return METRICS[self.kind]

    def __len__(self) -> int:
        """Return the number of queries, pairs or triplets."""
        return len(self.data)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits that depend on all labels and texts."""
        data: object = self.data
        if isinstance(self.data, RetrievalTask):
            task = self.data
            gains = None if task.gains is None else task.gains.tolist()
            data = (task.queries, task.documents, task.relevant.tolist(), gains)
        return hashlib.sha256(repr(data).encode(errors="surrogatepass")).hexdigest()[:32]

    @cached_property
    def _bm25(self) -> BM25 | None:
        return BM25(self.data.documents) if isinstance(self.data, RetrievalTask) else None

    def score(
        self, model: SentenceTransformer, *, cosine_weight: float | None = None, precision: Precision = "fp32"
    ) -> ItemScores:
        """Score a model on each item.

        Args:
            model: Encoder.
            cosine_weight: Weight of the cosine similarity in the fusion with BM25, from 0 to 1, for queries. Default:
                no fusion.
            precision: Arithmetic of the forward passes, see :func:`~smoothcse.encoders.inference.encode`.

        Raises:
            SmoothCSEError: The weight is outside 0..1.
        """
        if isinstance(self.data, ScoredPairs):
            return score_pairs(model, self.data, precision)
        if isinstance(self.data, Triplets):
            return score_triplets(model, self.data, precision)
        if cosine_weight is None:
            return score_queries(model, self.data, None, COSINE_WEIGHT, precision)
        return score_queries(model, self.data, self._bm25, cosine_weight, precision)


def is_own_labels(source: str | Path) -> bool:
    """Return whether a source is a file, there or not, or a folder in BEIR's layout without STS-B dev."""
    path = local_path(source)
    if path.is_dir():
        return is_beir_folder(path) and not has_stsb_dev(path)
    return path.is_file() or is_supported(path.name)


def load_own_labels(source: str | Path, documents: Sequence[str] | None = None) -> OwnLabels:
    """Read the user's own labels; the columns of the file tell their kind.

    Args:
        source: File (.jsonl, .csv, .tsv or .parquet) with the columns of one kind, see
            :mod:`smoothcse.evaluation.label_files`; or folder in BEIR's layout, of which ``qrels/dev.tsv`` is read, or
            the only file of judgements.
        documents: Documents of the corpus to rank the labelled ones among, see
            :func:`~smoothcse.evaluation.labelled_corpus.add_corpus`; used for queries. Default: those of the source.

    Raises:
        SmoothCSEError: The source cannot be read, holds no labels or less than two, or is for another corpus.
    """
    path = local_path(source)
    if not path.exists():
        raise SmoothCSEError(f"The labels {source} do not exist; give an existing file, or a folder in BEIR's layout.")
    data, notes = _read(path, documents)
    if (n := len(data)) < 2:
        raise SmoothCSEError(f"{source} has {n} labelled item; give at least 2, better {FEW} or more.")
    if n < FEW:
        notes = [
            *notes,
            f"{source} has {n} labelled items, which show large differences alone; label {FEW} or more.",
        ]
    return OwnLabels(data.name if isinstance(data, RetrievalTask) else path.name, data, tuple(notes))


def _read(path: Path, documents: Sequence[str] | None) -> tuple[RetrievalTask | ScoredPairs | Triplets, list[str]]:
    if path.is_dir():
        if not is_beir_folder(path):
            raise SmoothCSEError(
                f"The folder {path} holds no labels in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/*.tsv)."
            )
        task = load_retrieval(path, split=_DEV)
        untitled = load_retrieval(path, split=_DEV, titles=False).documents
        return add_corpus(task, untitled, documents, str(path)) if documents is not None else (task, [])
    if not is_pairs_file(path):
        raise SmoothCSEError(
            f"{path} has no columns; give labels as .jsonl, .csv, .tsv (also with {' or '.join(COMPRESSIONS)}) or "
            f".parquet: {NEEDS}."
        )
    columns = recognise_columns(path)
    if columns.kind == "pairs":
        return read_scored_pairs(path, columns), []
    if columns.kind == "triplets":
        return read_triplets(path, columns), []
    task = load_retrieval(path, columns.names)
    return add_corpus(task, task.documents, documents, str(path)) if documents is not None else (task, [])
