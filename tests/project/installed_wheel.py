"""Use an installed wheel as a newcomer would: train, encode, compare, print help. ``make wheel`` runs this script.

It stands apart from the test suite, as it must not see the source tree: the model and the text are made here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WORDS = ("the", "cat", "sat", "on", "a", "mat", "while", "dogs", "ran", "past", "old", "houses", "by", "sea")
TRAIN = "train text.txt --model tiny --output run --max-steps 3 --batch-size 8 --dev none"


def main() -> None:
    here = Path.cwd()
    make_model(here / "tiny")
    text = [" ".join(WORDS[(row * step) % len(WORDS)] for step in range(1, 8)) + f" {row}" for row in range(64)]
    (here / "text.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    command = Path(sys.executable).with_name("smoothcse")
    for arguments in ("--version", "train --help", TRAIN, "similarity run cat dog", "encode run text.txt -o out.npy"):
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "SMOOTHCSE_CACHE": str(here / "cache")}
        subprocess.run([command, *arguments.split()], check=True, env=environment, stdout=subprocess.DEVNULL)

    import smoothcse

    installed = Path(smoothcse.__file__)
    assert installed.is_relative_to(sys.prefix), f"{installed} is not the installed package"
    assert installed.with_name("py.typed").is_file()
    assert all(hasattr(smoothcse, name) for name in smoothcse.__all__)
    assert smoothcse.encode(smoothcse.load_encoder(here / "run" / "best"), ["a cat"]).shape == (1, 32)
    print("The installed wheel trains, encodes and compares.")


def make_model(folder: Path) -> None:
    """Write a BERT of random weights whose vocabulary is single letters and digits."""
    import transformers

    folder.mkdir()
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + [str(digit) for digit in range(10)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    transformers.BertTokenizerFast.from_pretrained(folder, model_max_length=64).save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=len(pieces), max_position_embeddings=64, **sizes)
    transformers.BertModel(config).save_pretrained(folder)


if __name__ == "__main__":
    main()
