"""Mined pairs of DebCSE: a positive and a hard negative for each sentence, drawn from its neighbours in the corpus."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from rich.console import Console
from scipy.sparse import csr_matrix
from torch import Tensor

from smoothcse._utils.progress import progress_bar
from smoothcse._utils.validation import CHECKED
from smoothcse.encoders.inference import encode
from smoothcse.objectives.debcse import draw, negative_log_weights, positive_log_weights
from smoothcse.objectives.draws import row_keys, uniforms
from smoothcse.objectives.rows import unit_rows

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

_WORD = re.compile(r"\w+")
_ENCODED_AT_A_TIME = 2048
_SIMILARITIES_AT_A_TIME = 2**24  # 64 MB of float32 for each of a few matrices


@dataclass(config=CHECKED, frozen=True)
class DebCSESettings:
    """Settings of DebCSE. The abstract gives no values; these were chosen by inspecting the pairs that they draw."""

    candidates: Annotated[
        int, Field(ge=1, description="Candidates per sentence: nearest neighbours by meaning, and as many by words.")
    ] = 64
    block_size: Annotated[
        int, Field(ge=3, description="Sentences per block of the neighbour search; affects time and memory.")
    ] = 16384
    midpoint: Annotated[
        float,
        Field(ge=-1, le=1, description="m: semantic similarity at which a pair is a paraphrase with probability 1/2."),
    ] = 0.65
    scale: Annotated[
        float, Field(ge=0.001, description="t: scale of semantic similarity over which this probability rises.")
    ] = 0.05
    clip: Annotated[float, Field(gt=0, lt=0.5, description="c: minimum propensity, which keeps weights finite.")] = (
        0.05
    )
    floor: Annotated[float, Field(ge=-1, le=1, description="Minimum semantic similarity of a positive.")] = 0.55
    cap: Annotated[
        float, Field(ge=-1, le=1, description="Upper bound of the semantic similarity of a hard negative.")
    ] = 0.45


def draw_pairs(
    sentences: Dataset, model: SentenceTransformer, settings: DebCSESettings, seed: int, console: Console
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a positive and a hard negative for each sentence.

    The sentences are assigned to blocks at random. Each block is encoded once, and the exact nearest neighbours are
    found within it, by meaning for the positives and by words for the hard negatives. Memory is proportional to the
    block size.

    Args:
        sentences: Dataset with the column ``sentence``, n rows.
        model: Frozen encoder that measures semantic similarity.
        settings: Settings of DebCSE.
        seed: Seed of the blocks and the draws, which depend only on the seed and the row of a sentence.
        console: Console for the progress bar.

    Returns:
        Rows of the positives and rows of the negatives, int64 ``(n,)`` each. A positive may be the sentence itself.
    """
    pairs = np.empty((2, len(sentences)), np.int64)
    with progress_bar(console, unit="sentences") as bar:
        task = bar.add_task("drawing pairs", total=len(sentences))
        for rows in _blocks(len(sentences), settings.block_size, seed):
            texts = sentences.select(rows)["sentence"][:]
            parts = []
            for first in range(0, len(texts), _ENCODED_AT_A_TIME):
                parts.append(encode(model, texts[first : first + _ENCODED_AT_A_TIME]))
                bar.advance(task, len(parts[-1]))
            drawn = draw_in_block(torch.from_numpy(np.concatenate(parts)), word_sets(texts), rows, settings, seed)
            pairs[:, rows] = rows[drawn.numpy()]
    return pairs[0], pairs[1]


def _blocks(count: int, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Assign rows at random to the fewest blocks of at most ``size`` rows, about equally large and each in order."""
    order = np.random.default_rng(seed).permutation(count)
    yield from map(np.sort, np.array_split(order, -(-count // size)))


def word_sets(texts: Sequence[str]) -> csr_matrix:
    r"""Return the word set of each text as a sparse matrix of ones, float32 ``(n, words)``.

    Words are lower-case matches of ``\w+``.

    Args:
        texts: Texts, n strings.
    """
    numbers: dict[str, int] = {}
    sets = [{numbers.setdefault(word, len(numbers)) for word in _WORD.findall(text.lower())} for text in texts]
    starts = np.cumsum([0, *map(len, sets)])
    indices = np.fromiter((number for found in sets for number in found), np.int64, starts[-1])
    return csr_matrix((np.ones(len(indices), np.float32), indices, starts), shape=(len(texts), max(1, len(numbers))))


def shared_words(some: csr_matrix, words: csr_matrix) -> Tensor:
    r"""Return the Jaccard similarity of word sets, float32 ``(m, n)``.

    .. math:: U_{ij} = |W_i \cap W_j| / |W_i \cup W_j|

    It is 1 for dropout views and decreases with every word that is added, dropped or replaced. It therefore also
    reflects equal length, the other bias that the abstract names.

    Args:
        some: Word sets from :func:`word_sets`, m rows.
        words: Word sets from :func:`word_sets`, n rows.
    """
    both = torch.from_numpy((some @ words.T).toarray())
    sizes = [torch.from_numpy(np.diff(sets.indptr).astype(np.float32)) for sets in (some, words)]
    either = sizes[0].unsqueeze(1) + sizes[1] - both
    return both / either.clamp(min=1)


def draw_in_block(
    embeddings: Tensor, words: csr_matrix, rows: NDArray[np.int64], settings: DebCSESettings, seed: int
) -> Tensor:
    """Draw the pairs of one block.

    Args:
        embeddings: Embeddings of the block, float32 ``(n, d)``.
        words: Word sets of the block, from :func:`word_sets`.
        rows: Rows of the corpus, ``(n,)``, which determine the draws together with the seed.
        settings: Settings of DebCSE.
        seed: Seed of the draws.

    Returns:
        Positions in the block of the positives and of the hard negatives, int64 ``(2, n)``.
    """
    # Subtracting the mean gives unrelated sentences similarity 0. Encoders that are not trained on sentences map
    # all of them into a narrow cone.
    unit = unit_rows(embeddings - embeddings.mean(dim=0))
    keys = torch.from_numpy(rows).unsqueeze(1)
    chance = uniforms(row_keys(keys, torch.ones_like(keys), seed, 0).unsqueeze(1), torch.arange(2))
    size = max(1, _SIMILARITIES_AT_A_TIME // len(unit))
    return torch.cat(
        [
            _draw(unit, words, torch.arange(first, min(first + size, len(unit))), chance, settings)
            for first in range(0, len(unit), size)
        ],
        dim=1,
    )


def _draw(unit: Tensor, words: csr_matrix, rows: Tensor, chance: Tensor, settings: DebCSESettings) -> Tensor:
    """Draw the pairs of some rows of a block."""
    own = rows.unsqueeze(1)
    meaning = (unit[rows] @ unit.T).scatter(1, own, 1.0)
    surface = shared_words(words[rows.numpy()], words).scatter(1, own, 1.0)
    count = min(settings.candidates, len(unit) - 1)
    near = meaning.scatter(1, own, 2.0).topk(count + 1, dim=1).indices
    alike = surface.scatter(1, own, -1.0).topk(count, dim=1).indices

    shape = {"midpoint": settings.midpoint, "scale": settings.scale, "clip": settings.clip}
    weights = positive_log_weights(meaning.gather(1, near), surface.gather(1, near), floor=settings.floor, **shape)
    positives = near.gather(1, draw(weights, chance[rows, 0]).unsqueeze(1))
    cap = meaning.gather(1, positives).squeeze(1).clamp(max=settings.cap)
    weights = negative_log_weights(meaning.gather(1, alike), surface.gather(1, alike), cap=cap, **shape)
    negatives = alike.gather(1, draw(weights, chance[rows, 1]).unsqueeze(1))
    return torch.cat([positives, negatives], dim=1).T
