"""Compare the ways to encode on a CPU: speed, agreement with fp32, size, and the average of the seven STS tasks.

The ways are this package's precisions and exports, and sentence-transformers with its own backends. Those need optimum
and therefore an environment of their own, see ``host_backends.py``; without ``--host-python`` they are left out:

    python -m venv host && host/bin/pip install "sentence-transformers[onnx,openvino]<6" "transformers<4.58"
    python benchmarks/encoding_backends.py --host-python host/bin/python [--sentences 2000] [--repeats 3]
        [--pairs 300] [--model packaged-minilm] [--quick]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from harness import SHARED, alternate, answer_of, keep, precisions, ratios, show
from numpy.typing import NDArray
from page import way_cells
from rich.console import Console
from sentence_transformers import SentenceTransformer
from shapes import encoder_of

from smoothcse._utils.quiet import quiet_libraries
from smoothcse._utils.vectors import unit_rows
from smoothcse.corpus import load_sentences
from smoothcse.encoders import inference
from smoothcse.encoders.inference import encode, in_precision
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.general import general_tasks
from smoothcse.evaluation.sts import STSTask, correlations, pair_cosines
from smoothcse.export.export_model import CALIBRATION, export_model
from smoothcse.export.fastest import MOST_LOST

Array = NDArray[np.floating[Any]]
Embed = Callable[[list[str]], Array]
HOST = "sentence-transformers, defaults"
FP32 = "ours, fp32"
EXPORTS = (("onnx", None), ("onnx", "int8"), ("openvino", None), ("openvino", "int8"))
NAMES = {"onnx": "ONNX", "openvino": "OpenVINO"}
COMPARED = 64  # sentences for the check of an export


@dataclass(frozen=True)
class Way:
    """A way to encode.

    Attributes:
        embed: Function from n texts to their embeddings, ``(n, d)``.
        megabytes: Size of the weights, 10⁶ bytes.
    """

    embed: Embed
    megabytes: float


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=2000, help="number of sentences")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of alternating measurements")
    parser.add_argument("--pairs", type=int, default=300, help="pairs per STS task; 0 leaves the scores out")
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument("--host-python", type=Path, help="Python of an environment with the host's backends")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    count, repeats, pairs = (
        (32, 1, 0) if arguments.quick else (arguments.sentences, arguments.repeats, arguments.pairs)
    )
    texts = load_sentences(
        SHARED / "data" / "corpus" / "wiki_sentences.txt", limit=count + CALIBRATION, seed=0
    ).dataset["sentence"][:]
    sentences, calibration = texts[:count], texts[count:]
    tasks = general_tasks(SHARED / "data" / "sts", pairs=pairs) if pairs else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = encoder_of("MiniLM", arguments.model, folder)
        ways = torch_ways(source)
        ways |= exported_ways(source, folder, calibration, EXPORTS[1:2] if arguments.quick else EXPORTS)
        with host_ways(arguments.host_python, source, folder, calibration) as (of_host, version):
            found = measure(ways | of_host, sentences, tasks, repeats)
    result = {"sentences": count, "pairs": pairs, "host_version": version, "fastest": fastest(found), "ways": found}
    headings = ["way", "sentences/s", f"times {HOST}", "cosine, mean", "lowest", "MB", "STS average"]
    caption = f"Our fastest with an STS average at most 0.2 below that of fp32: {result['fastest']}."
    show(
        f"Encoding {count:,} sentences",
        headings,
        [[name, *way_cells(way, count)] for name, way in found.items()],
        caption,
    )
    keep("encoding_backends", result, arguments.quick)


def measure(
    ways: dict[str, Way], sentences: list[str], tasks: Sequence[STSTask], repeats: int
) -> dict[str, dict[str, Any]]:
    """Return the figures of each way; the first pass, which is not timed, gives the embeddings."""
    embeddings = {name: unit_rows(way.embed(sentences).astype(np.float64)) for name, way in ways.items()}
    seconds = alternate({name: run(way.embed, sentences) for name, way in ways.items()}, repeats)
    found = {}
    for name, way in ways.items():
        cosines = np.vecdot(embeddings[name], embeddings[FP32])
        found[name] = {
            "seconds": seconds[name],
            "ratios": ratios(seconds, name, HOST),
            "mean_cosine": float(cosines.mean()),
            "lowest_cosine": float(cosines.min()),
            "megabytes": way.megabytes,
            "sts": sts_average(way.embed, tasks) if tasks else None,
        }
    return found


def run(embed: Embed, sentences: list[str]) -> Callable[[], None]:
    """Return a function that encodes and returns nothing, so that the harness times it."""

    def timed() -> None:
        embed(sentences)

    return timed


def sts_average(embed: Embed, tasks: Sequence[STSTask]) -> float:
    """Return the mean over tasks of Spearman x 100; each distinct sentence is encoded once."""
    subsets = [subset for task in tasks for subset in task.subsets]
    texts = list(dict.fromkeys(text for subset in subsets for text in (*subset.sentences1, *subset.sentences2)))
    embeddings = dict(zip(texts, embed(texts), strict=True))

    def score(task: STSTask) -> float:
        pairs = [pair for s in task.subsets for pair in zip(s.sentences1, s.sentences2, strict=True)]
        x, y = (np.stack([embeddings[text] for text in side]) for side in zip(*pairs, strict=True))
        return correlations(pair_cosines(x, y), np.concatenate([s.gold for s in task.subsets]))["spearman"]

    return mean(score(task) for task in tasks)


def torch_ways(source: str) -> dict[str, Way]:
    """Return the ways that torch runs: this package's precisions, and the host."""
    model = load_encoder(source, device="cpu")
    size = sum(p.numel() * p.element_size() for p in model[0].parameters()) / 1e6
    host, in_bf16 = load_encoder(source, device="cpu"), deepcopy(model).bfloat16()
    ways = {HOST: Way(lambda texts: host.encode(texts, show_progress_bar=False), size)}
    if "bf16" in precisions():
        ways["sentence-transformers, bf16"] = Way(
            lambda texts: in_bf16.encode(texts, show_progress_bar=False, convert_to_tensor=True).float().numpy(),
            size / 2,
        )
    for precision in precisions():
        ways[f"ours, {precision}"] = Way(lambda texts, p=precision: encode(model, texts, precision=p), size)
    ways[f"candidate: {precisions()[-1]}, tokenised ahead"] = Way(ahead(in_precision(model, "auto")), size)
    return ways


def ahead(model: SentenceTransformer) -> Embed:
    """Return a candidate: another thread tokenises the next batches while a batch is encoded."""

    def embed(texts: list[str]) -> Array:
        counts = inference.token_counts(model, texts)
        order = np.argsort(-counts, kind="stable")
        batches = list(inference._batches(order, counts, None, inference.tokens_at_a_time("cpu")))
        with ThreadPoolExecutor(1) as pool, torch.inference_mode():
            features = pool.map(lambda batch: model.preprocess([texts[place] for place in batch]), batches)
            encoded = torch.cat([model(batch)["sentence_embedding"] for batch in features]).numpy()
        in_order = np.empty_like(encoded)
        in_order[order] = encoded
        return in_order

    return embed


def exported_ways(
    source: str, folder: Path, calibration: list[str], exports: Sequence[tuple[str, str | None]]
) -> dict[str, Way]:
    """Export the model and return the ways that other runtimes run."""
    ways = {}
    for format, quantize in exports:
        target = folder / f"{format}-{quantize or 'float32'}"
        model = load_encoder(source, device="cpu")
        size = export_model(
            model,
            target,
            format,  # type: ignore[arg-type]
            calibration[:COMPARED],
            quantize=quantize,  # type: ignore[arg-type]
            calibration=calibration,
            console=Console(quiet=True),
        ).after.megabytes
        exported = load_encoder(target)
        for precision in precisions() if format == "openvino" else ["fp32"]:
            name = f"ours, {NAMES[format]} {quantize or 'float32'}"
            name += " in bf16" if precision == "bf16" else ""
            ways[name] = Way(lambda texts, m=exported, p=precision: encode(m, texts, precision=p), size)
    return ways


@contextmanager
def host_ways(
    python: Path | None, source: str, folder: Path, calibration: list[str]
) -> Iterator[tuple[dict[str, Way], str | None]]:
    """Start ``host_backends.py`` and yield its ways to encode and the host's version; nothing without a Python."""
    if python is None:
        print("The backends of sentence-transformers are left out; give --host-python.")
        yield {}, None
        return
    texts = folder / "calibration"
    texts.mkdir()
    rows = "".join(json.dumps({"sentence": sentence}) + "\n" for sentence in calibration)
    (texts / "train.jsonl").write_text(rows, encoding="utf-8")
    script = Path(__file__).with_name("host_backends.py")
    command = [str(python), str(script), source, str(texts), str(folder / "host"), str(torch.get_num_threads())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        ways = {}
        while "ready" not in (answer := answer_of(process)):
            if "failed" in answer:
                print(f"{answer['failed']} of sentence-transformers failed: {answer['reason']}")
            else:
                name = answer["prepared"]
                ways[f"sentence-transformers, {name}"] = Way(by_host(process, name, folder), answer["megabytes"])
        yield ways, answer["version"]
        process.stdin.close()  # type: ignore[union-attr]


def by_host(process: subprocess.Popen[str], backend: str, folder: Path) -> Embed:
    """Return a function that lets the host's process encode."""

    def embed(texts: list[str]) -> Array:
        given, embeddings = folder / "texts.json", folder / "embeddings.npy"
        given.write_text(json.dumps(texts), encoding="utf-8")
        request = {"backend": backend, "texts": str(given), "embeddings": str(embeddings)}
        print(json.dumps(request), file=process.stdin, flush=True)
        answer_of(process)
        return np.load(embeddings)  # type: ignore[no-any-return]

    return embed


def fastest(found: dict[str, dict[str, Any]]) -> str:
    """Return our fastest way whose STS average, if measured, is at most 0.2 below that of fp32."""
    aim, ours = found[FP32]["sts"], {name: way for name, way in found.items() if name.startswith("ours")}
    close = {name: way for name, way in ours.items() if aim is None or way["sts"] >= aim - MOST_LOST}
    return max(close, key=lambda name: float(np.median(close[name]["ratios"])))


if __name__ == "__main__":
    main()
