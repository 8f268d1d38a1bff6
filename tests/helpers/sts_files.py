"""Small files in SentEval's layout, with words from the vocabulary of the tiny tokenizer."""

from __future__ import annotations

from pathlib import Path

from tiny import sentences

ROWS = 12
"""Pairs per file."""


def sts_file(relative: str, number: int) -> str:
    """Return the text of an STS file by its relative path; each ``number`` gives different sentences."""
    texts = sentences(2 * ROWS, seed=number)
    pairs = list(zip(texts[:ROWS], texts[ROWS:], strict=True))
    scores = [f"{(7 * i) % 11 / 2}" for i in range(ROWS)]
    if "STS.gs" in relative:
        return "\n".join(scores) + "\n"
    if "STS.input" in relative:
        return "".join(f"{a}\t{b}\n" for a, b in pairs)
    if "SICK" in relative:
        return "id\tA\tB\tscore\n" + "".join(f"1\t{a}\t{b}\t{s}\n" for (a, b), s in zip(pairs, scores, strict=True))
    return "".join(f"main\tnews\t2012\t1\t{s}\t{a}\t{b}\n" for (a, b), s in zip(pairs, scores, strict=True))


def write(path: Path, text: str) -> None:
    """Write a file; create its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
