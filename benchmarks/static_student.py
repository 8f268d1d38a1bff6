"""Compare an encoder with its static student: speed, size, and the MRR that is kept on each domain.

The student of a domain learns from the domain's documents, and from half of them, as for documents that are added
later. Queries are used to score alone. model2vec's own distillation, which reads no text, is scored as well.

    python benchmarks/static_student.py DOMAIN [DOMAIN ...] [--model packaged-minilm] [--repeats 3] [--quick]

A domain is a folder in BEIR's layout; see ``domains.py``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from harness import alternate, keep, ratios, show, spread
from model2vec import StaticModel
from model2vec.distill.inference import apply_pca, compute_weights
from sentence_transformers import SentenceTransformer

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.ranking import rank
from smoothcse.evaluation.retrieval import RetrievalTask, cosine_blocks, embed_task
from smoothcse.evaluation.retrieval_data import load_retrieval
from smoothcse.export.static import FloatArray, distilled, save_static

TIMED = 256  # documents per timing


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("domains", type=Path, nargs="+", help="folders in BEIR's layout")
    parser.add_argument("--model", default="packaged-minilm", help="encoder")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of alternating timings")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    model = load_encoder(arguments.model, device="cpu")
    student = distilled(model)
    found = {}
    repeats = 1 if arguments.quick else arguments.repeats
    for number, domain in enumerate(arguments.domains, 1):
        print(f"domain {number} of {len(arguments.domains)}: {domain.name}", flush=True)
        found[domain.name] = measure(model, student, load_retrieval(domain), repeats)
    rows = [[name, *cells(domain)] for name, domain in found.items()]
    headings = ["domain", "encoder, MRR", "model2vec", "static", "kept", "half seen", "times as fast"]
    sizes = next(iter(found.values()))["megabytes"]
    show("A static student", headings, rows, f"{sizes['static']:.0f} MB instead of {sizes['encoder']:.0f} MB")
    keep("static_student", {"model": arguments.model, "timed_documents": TIMED, "domains": found}, arguments.quick)


def cells(domain: dict[str, Any]) -> list[str]:
    """Return the cells of a domain."""
    mrr = domain["mrr"]
    return [
        *(f"{mrr[name]:.1f}" for name in ("encoder", "model2vec", "static")),
        *(f"{mrr[name] / mrr['encoder']:.0%}" for name in ("static", "half")),
        spread(domain["ratios"], 0),
    ]


def measure(model: SentenceTransformer, tokens: StaticModel, task: RetrievalTask, repeats: int) -> dict[str, Any]:
    """Return scores, sizes and times of an encoder and its students on a task."""
    queries, documents = embed_task(model, task)
    mrr = {"encoder": score(queries, documents, task)}
    weights = compute_weights(len(tokens.embedding), 1e-4)[:, None]  # the defaults of model2vec's distill
    plain = StaticModel(apply_pca(tokens.embedding, 256) * weights, tokens.tokenizer)
    mrr["model2vec"] = score(plain.encode(task.queries), plain.encode(task.documents), task)
    with tempfile.TemporaryDirectory() as folder:
        for name, step in {"half": 2, "static": 1}.items():
            file = save_static(Path(folder) / name, tokens, task.documents[::step], documents[::step])
            student = load_encoder(Path(folder) / name, device="cpu")
            mrr[name] = score(*embed_task(student, task), task)
        size = sum(parameter.numel() * parameter.element_size() for parameter in model[0].parameters())
        sizes = {"encoder": size / 1e6, "static": file.stat().st_size / 1e6}
    seconds = times(model, student, task.documents[:: max(1, len(task.documents) // TIMED)], repeats)
    return {"documents": len(task.documents), "queries": len(task), "mrr": mrr, "megabytes": sizes} | seconds


def score(queries: FloatArray, documents: FloatArray, task: RetrievalTask) -> float:
    """Return the MRR in percent."""
    return rank(cosine_blocks(queries, documents), task.relevant, task.gains).metrics()["MRR"]


def times(model: SentenceTransformer, student: SentenceTransformer, texts: list[str], repeats: int) -> dict[str, Any]:
    """Return seconds to encode some documents in fp32, and how many times as fast the student is."""
    for one in (model, student):
        encode(one, texts[:32])  # warm up

    def timed(one: SentenceTransformer) -> Callable[[], None]:
        def way() -> None:
            encode(one, texts)

        return way

    seconds = alternate({"encoder": timed(model), "static": timed(student)}, repeats)
    speeds = {name: len(texts) / median(values) for name, values in seconds.items()}
    return {"seconds": seconds, "per_second": speeds, "ratios": ratios(seconds, "static", "encoder")}


if __name__ == "__main__":
    main()
