"""Compare the time to index texts with the time to encode them, which is the least that it can take.

Both take the same real captions, alternately. An index also holds the texts, their words for BM25 and a search
structure; ``smoothcse index`` writes it by the same function, which loads the model, too.

    python benchmarks/indexing.py [--texts 20000] [--repeats 2] [--model packaged-minilm] [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path
from statistics import median

from harness import SHARED, alternate, keep, ratios, show, spread
from rich.console import Console

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder
from smoothcse.search import Document, Index

ENCODE, INDEX = "encode", "index"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=20_000, help="number of captions")
    parser.add_argument("--repeats", type=int, default=2, help="rounds of alternating measurements")
    parser.add_argument("--model", default="packaged-minilm", help="model folder or hub name")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    count, repeats = (64, 1) if arguments.quick else (arguments.texts, arguments.repeats)
    captions = load_sentences(SHARED / "data" / "corpus" / "captions.txt", limit=count, seed=0)
    texts: list[str] = captions.dataset["sentence"][:]
    model = load_encoder(arguments.model)
    encode(model, texts[:64], precision="auto")  # warm up
    number = itertools.count()
    with tempfile.TemporaryDirectory() as place:

        def only_encode() -> None:
            encode(model, texts, precision="auto")

        def index() -> None:
            documents = (Document(text, str(row)) for row, text in enumerate(texts))
            folder = Path(place) / str(next(number))
            Index.build(folder, arguments.model, documents, precision="auto", console=Console(quiet=True))

        seconds = alternate({ENCODE: only_encode, INDEX: index}, repeats)
    times = ratios(seconds, ENCODE, INDEX)
    rows = [[way, spread(values, 1), f"{count / median(values):.0f}"] for way, values in seconds.items()]
    show(
        f"{count:,} captions", ["way", "seconds", "per second"], rows, f"Indexing takes {spread(times)} times as long."
    )
    keep("indexing", {"texts": count, "seconds": seconds, "times": times}, arguments.quick)


if __name__ == "__main__":
    main()
