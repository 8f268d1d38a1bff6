"""Measure the ranking and the latency of each kind of search: words, meaning, both, and both with a second stage.

The documents of a domain are indexed, and its queries are asked by the functions that `smoothcse search` and the
service use. Each kind of search is compared with both (the default) on the same queries, by a paired bootstrap. The
weight of the probe is the one that `smoothcse adapt` would choose for the untouched encoder.

    python benchmarks/hybrid_search.py DOMAIN [DOMAIN ...] [--model packaged-minilm] [--queries 500] [--quick]

A domain is a folder in BEIR's layout; see ``domains.py``. A cross-encoder is not measured: none is packaged.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from harness import alternate, first_device, keep, require_idle_machine, show
from numpy.typing import NDArray
from page import interval
from sentence_transformers import SentenceTransformer

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus.documents import load_documents
from smoothcse.encoders.inference import encode, in_precision
from smoothcse.encoders.precision import resolve_precision
from smoothcse.evaluation.fusion import COSINE_WEIGHT
from smoothcse.evaluation.maxsim import CANDIDATES, late_interaction
from smoothcse.evaluation.ranking import Ranking, rank_block
from smoothcse.evaluation.retrieval import RetrievalTask
from smoothcse.evaluation.retrieval_data import load_retrieval
from smoothcse.experiments.adapt.material import prepare_material
from smoothcse.experiments.statistics import paired_bootstrap
from smoothcse.search import Document, Hit, Index
from smoothcse.search.maxsim_search import reorder_hits

DEPTH = 100
"""Number of documents found for each query; a relevant document further back counts as the last one."""

RRF_CONSTANT = 60
"""Constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

SHOWN = 10
"""Number of documents of a timed search."""

TIMED, TIMED_MAXSIM = 10, 3
"""Number of queries per timing, asked one by one; fewer with MaxSim, which encodes 50 documents for each."""

BOTH = f"both, weight {COSINE_WEIGHT:g} (the default)"
RECIPROCAL = "both, reciprocal ranks"
MAXSIM = "both, then MaxSim"

SCORES = ("ndcg", "mrr")

Found = list[list[Hit]]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domains", type=Path, nargs="+", help="folders in BEIR's layout")
    parser.add_argument("--model", default="packaged-minilm", help="encoder")
    parser.add_argument("--queries", type=int, default=500, help="queries per domain, drawn")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of alternating timings")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    queries, repeats = (20, 1) if arguments.quick else (arguments.queries, arguments.repeats)
    if not arguments.quick:
        require_idle_machine()
    domains = {}
    for number, folder in enumerate(arguments.domains, 1):
        print(f"domain {number} of {len(arguments.domains)}: {folder.name}", flush=True)
        domains[folder.resolve().name] = measure(folder, arguments.model, queries, repeats)
    headings = ["domain, search", "nDCG@10", "minus both", "MRR", "minus both", "ms per query"]
    rows = [[f"{name}, {way}", *cells(one)] for name, domain in domains.items() for way, one in domain["ways"].items()]
    show("Kinds of search", headings, rows)
    settings = {"model": arguments.model, "precision": resolve_precision("auto", "encode", first_device())}
    keep("hybrid_search", {**settings, "domains": domains}, arguments.quick)


def cells(way: dict[str, Any]) -> list[str]:
    """Return the cells of a kind of search."""
    scores = [cell for name in SCORES for cell in (f"{way[name]:.1f}", interval(way[f"{name}_difference"]))]
    return [*scores, f"{1000 * median(way['seconds']):.0f}"]


def measure(folder: Path, model: str, queries: int, repeats: int) -> dict[str, Any]:
    """Return scores and seconds per query of each kind of search in a domain."""
    task = drawn(load_retrieval(folder), queries)
    documents = (Document(text, str(row)) for row, text in enumerate(task.documents))
    with tempfile.TemporaryDirectory() as place:
        index = Index.build(Path(place) / "docs.index", model, documents, precision="auto")
        weight = probe_weight(folder, index.model)
        seconds = alternate(timed(index, weight, task.queries), repeats)
        rankings = {way: rank(found, task) for way, found in Searches(index, task).all(weight).items()}
    ways = {way: scores(rankings[way], rankings[BOTH]) | {"seconds": seconds[way]} for way in rankings}
    return {"documents": len(task.documents), "queries": len(task), "probe_weight": weight, "ways": ways}


def drawn(task: RetrievalTask, count: int) -> RetrievalTask:
    """Return a task with some of its queries, drawn with a fixed seed."""
    rows = np.sort(np.random.default_rng(0).permutation(len(task))[:count])
    relevant, gains = task.relevant[rows], None if task.gains is None else task.gains[rows]
    return RetrievalTask(task.name, [task.queries[row] for row in rows], task.documents, relevant, gains)


def probe_weight(folder: Path, model: SentenceTransformer) -> float:
    """Return the weight that ``smoothcse adapt`` chooses for an encoder on the documents of a domain."""
    corpus = load_documents(folder / "corpus.jsonl", max_tokens=None)
    with tempfile.TemporaryDirectory() as place:
        judge = prepare_material(corpus, model, Path(place), seed=0, language="en").judge
    return judge.score(model, "auto").cosine_weight


def weights(probe: float) -> dict[str, float]:
    """Return the weight of the cosine similarity of each kind of search that is one fused search."""
    usual = {"words alone (BM25)": 0.0, "meaning alone": 1.0, BOTH: COSINE_WEIGHT}
    return usual if probe == COSINE_WEIGHT else usual | {f"both, weight {probe:g} (of the probe)": probe}


@dataclass(frozen=True)
class Searches:
    """All searches for the queries of a task.

    Attributes:
        index: Index whose ids are the rows of the task's documents.
        task: Task.
    """

    index: Index
    task: RetrievalTask

    def all(self, probe: float) -> dict[str, Found]:
        """Return the hits of each query by kind of search, with a further weight from a probe."""
        vectors = encode(self.index.model, self.task.queries, "query", precision=self.index.precision)
        found = {
            way: [
                self.index.fused(query, vector, DEPTH, cosine_weight=weight)
                for query, vector in zip(self.task.queries, vectors, strict=True)
            ]
            for way, weight in weights(probe).items()
        }
        words, meaning, *_ = found.values()
        found[RECIPROCAL] = [reciprocal(*lists) for lists in zip(words, meaning, strict=True)]
        found[MAXSIM] = self._reranked(found[BOTH])
        return found

    def _reranked(self, found: Found) -> Found:
        """Return what a search with MaxSim returns; queries share the forward passes of their documents."""
        candidates = np.array([[int(hit.id) for hit in hits[:CANDIDATES]] for hits in found])
        model = in_precision(self.index.model, self.index.precision)
        late = late_interaction(model, self.task.queries, self.task.documents, candidates)
        return [reorder_hits(hits, row) for hits, row in zip(found, late, strict=True)]


def reciprocal(*lists: Sequence[Hit]) -> list[Hit]:
    """Return the hits of several lists by the sum of their reciprocal ranks, best first."""
    hits = {hit.id: hit for found in lists for hit in found}
    sums = dict.fromkeys(hits, 0.0)
    for found in lists:
        for place, hit in enumerate(found, 1):
            sums[hit.id] += 1 / (RRF_CONSTANT + place)
    return [hits[id] for id in sorted(sums, key=lambda id: -sums[id])]


def timed(index: Index, probe: float, queries: Sequence[str]) -> dict[str, Callable[[], float]]:
    """Return functions that ask some queries one by one and return the seconds of one, by kind of search."""
    model = in_precision(index.model, index.precision)

    def reciprocally(query: str) -> None:
        [vector] = encode(model, [query], "query")
        reciprocal(*(index.fused(query, vector, DEPTH, cosine_weight=weight) for weight in (0, 1)))

    search = partial(index.search, k=SHOWN, rerank="none")
    ways = {
        way: partial(per_query, partial(search, cosine_weight=w), queries[:TIMED]) for way, w in weights(probe).items()
    }
    late = partial(index.search, k=SHOWN, cosine_weight=COSINE_WEIGHT, rerank="maxsim")
    return ways | {
        RECIPROCAL: partial(per_query, reciprocally, queries[:TIMED]),
        MAXSIM: partial(per_query, late, queries[:TIMED_MAXSIM]),
    }


def per_query(ask: Callable[[str], object], queries: Sequence[str]) -> float:
    """Ask queries one by one, and return the seconds of one."""
    started = time.perf_counter()
    for query in queries:
        ask(query)
    return (time.perf_counter() - started) / len(queries)


def rank(found: Found, task: RetrievalTask) -> Ranking:
    """Return the ranking of a task's queries by their hits; all documents that were not found share the last rank."""
    places = np.zeros((len(task), len(task.documents)))
    for row, hits in enumerate(found):
        places[row, [int(hit.id) for hit in hits]] = np.arange(len(hits), 0, -1)
    return rank_block(places, task.relevant, task.gains)


def scores(ranking: Ranking, both: Ranking) -> dict[str, Any]:
    """Return nDCG@10 and MRR × 100 of a kind of search, and their differences from both, None for both itself."""
    found: dict[str, Any] = {}
    for name, own, other in zip(SCORES, by_query(ranking), by_query(both), strict=True):
        found[name] = float(np.mean(own))
        found[f"{name}_difference"] = None if ranking is both else asdict(paired_bootstrap(own, other))
    return found


def by_query(ranking: Ranking) -> tuple[NDArray[np.floating[Any]], ...]:
    """Return nDCG@10 and reciprocal rank × 100 of each query, in the order of the scores."""
    return 100 * ranking.ndcg, 100 * ranking.reciprocal_ranks


if __name__ == "__main__":
    main()
