"""Compare the encoding speed of ``smoothcse.encode`` with that of ``SentenceTransformer.encode``.

Both encode real sentences of mixed length, alternately. Embeddings in bf16 and fp32 are compared on every machine, on
some of the sentences only, because bf16 is slow on processors without instructions for it.

    python benchmarks/encoding.py [--sentences 4000] [--repeats 3] [--model packaged-minilm] [--quick]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from harness import SHARED, alternate, keep, precisions, ratios, show, spread
from shapes import encoder_of

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder

AGREEMENT = 1000  # sentences encoded in both precisions


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=4000, help="number of sentences")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of alternating measurements")
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    count, repeats = (64, 1) if arguments.quick else (arguments.sentences, arguments.repeats)
    text = SHARED / "data" / "corpus" / "wiki_sentences.txt"
    sentences: list[str] = load_sentences(text, limit=count, seed=0).dataset["sentence"][:]
    with tempfile.TemporaryDirectory() as folder:
        model = load_encoder(encoder_of("MiniLM", arguments.model, Path(folder)))
    embeddings = {}

    def ours(precision: str) -> None:
        embeddings[precision] = encode(model, sentences, precision=precision)  # type: ignore[arg-type]

    def theirs(batch_size: int | None = None) -> None:
        options = {"batch_size": batch_size} if batch_size else {}
        embeddings["sentence-transformers"] = model.encode(sentences, show_progress_bar=False, **options)

    encode(model, sentences[:64])  # warm up
    seconds = alternate(
        {
            "ours, fp32": lambda: ours("fp32"),
            "sentence-transformers, fp32": lambda: theirs(32),
            "ours, defaults": lambda: ours("auto"),
            "sentence-transformers, defaults": lambda: theirs(),
        },
        repeats,
    )
    found = {kind: ratios(seconds, f"ours, {kind}", f"sentence-transformers, {kind}") for kind in ("fp32", "defaults")}
    some = sentences[:: max(1, count // AGREEMENT)]
    in_bf16, in_fp32 = (encode(model, some, precision=precision) for precision in ("bf16", "fp32"))
    agreement = {"sentences": len(some), "lowest_cosine": float(cosines(in_bf16, in_fp32).min())}
    difference = float(np.abs(embeddings["fp32"] - embeddings["sentence-transformers"]).max())
    lowest = float(cosines(embeddings["auto"], embeddings["sentence-transformers"]).min())
    rows = [[name, spread(values, 1), f"{count / median(values):.0f}"] for name, values in seconds.items()]
    rows += [[f"ratio, {kind}", spread(values), ""] for kind, values in found.items()]
    caption = f"largest difference in fp32: {difference:.1e}; lowest cosine at the defaults: {lowest:.6f}, "
    caption += f"between bf16 and fp32: {agreement['lowest_cosine']:.6f}"
    show(f"Encoding {count:,} sentences", ["encoder, precision", "seconds", "per second"], rows, caption)
    result = {"sentences": count, "seconds": seconds, "ratios": found, "largest_difference_fp32": difference}
    result |= {"lowest_cosine_defaults": lowest, "default_precision": precisions()[-1], "bf16": agreement}
    keep("encoding", result, arguments.quick)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine of each pair of rows."""
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


if __name__ == "__main__":
    main()
