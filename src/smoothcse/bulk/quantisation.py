"""Smaller embeddings: their first dimensions alone, or fewer bits for each, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.util import quantize_embeddings

from smoothcse._utils.choices import EmbeddingPrecision
from smoothcse.errors import SmoothCSEError, first_line

LEAST_CALIBRATION = 100
"""Embeddings below which the host, too, warns that int8 ranges found on them mean little."""

NEIGHBOURS = 10

FloatArray = NDArray[np.float32]


class EmbeddingFormat:
    """From embeddings as the model gives them to embeddings as they are kept.

    int8 and uint8 cut the range of each dimension into 256 steps. The ranges are fixed once, by the first embeddings
    that :meth:`shrink` is given, and hold for all that follow; what lies outside is clipped. Embeddings can be
    compared only with others of the same ranges, so the shards of one corpus and the queries to it must share them.

    Args:
        dimensions: keep the first so many; None for all. It costs little only where the model was trained for it
            (Matryoshka representation learning); otherwise see :func:`neighbours_kept`.
        precision: ``float32``; ``int8`` or ``uint8``, a byte for each dimension; ``binary`` or ``ubinary``, a bit for
            each (its sign), packed into bytes.
        normalize: whether to scale each embedding to length 1, after it is cut and before it is quantised.
        ranges: float32 ``(2, d)``, the least and greatest value of each dimension; None to find them.

    Raises:
        SmoothCSEError: if the precision is unknown, or ranges are given where none are used.
    """

    def __init__(
        self,
        dimensions: int | None = None,
        precision: EmbeddingPrecision = "float32",
        *,
        normalize: bool = False,
        ranges: FloatArray | None = None,
    ) -> None:
        if precision not in get_args(EmbeddingPrecision):
            known = ", ".join(get_args(EmbeddingPrecision))
            raise SmoothCSEError(f"The embedding precision {precision!r} is unknown; choose one of {known}.")
        self.dimensions, self.precision, self.normalize, self.ranges = dimensions, precision, normalize, ranges
        if ranges is not None and not self.has_ranges:
            raise SmoothCSEError(f"{precision} embeddings have no ranges; leave them out, or choose int8 or uint8.")

    @property
    def has_ranges(self) -> bool:
        """Whether this precision quantises by ranges."""
        return self.precision in ("int8", "uint8")

    @property
    def is_plain(self) -> bool:
        """Whether embeddings are kept as they are, but for their length."""
        return self.dimensions is None and self.precision == "float32"

    def shrink(self, embeddings: FloatArray) -> NDArray[Any]:
        """Bring embeddings into this format.

        Args:
            embeddings: float32 ``(n, d)``, as the model gives them.

        Returns:
            ``(n, dimensions)`` of float32, int8 or uint8; for the binary ones ``(n, ceil(dimensions / 8))`` bytes.

        Raises:
            SmoothCSEError: if there are fewer dimensions than asked for, the ranges are of another width, or there
                are too few embeddings to find the ranges.
        """
        small = self.cut(embeddings)
        if self.has_ranges and self.ranges is None:
            self.ranges = _ranges_of(small)
        if self.ranges is not None and self.ranges.shape[1] != small.shape[1]:
            raise SmoothCSEError(
                f"The ranges are of {self.ranges.shape[1]} dimensions, the embeddings have {small.shape[1]}; give the "
                "ranges of the same model and the same --dimensions."
            )
        shrunk: NDArray[Any] = quantize_embeddings(small, precision=self.precision, ranges=self.ranges)
        return shrunk

    def cut(self, embeddings: FloatArray) -> FloatArray:
        """Return the dimensions that are kept, normalised if that is asked for, in float32."""
        width = embeddings.shape[1]
        if self.dimensions is not None and not 1 <= self.dimensions <= width:
            raise SmoothCSEError(f"{self.dimensions} dimensions cannot be kept: the model's embeddings have {width}.")
        small = np.ascontiguousarray(embeddings[:, : self.dimensions], dtype=np.float32)
        return _unit(small) if self.normalize else small

    def restore(self, shrunk: NDArray[Any], width: int) -> FloatArray:
        """Return what a kept embedding stands for: -1 or 1 for a bit, the middle of its step for a byte.

        Args:
            shrunk: from :meth:`shrink`.
            width: dimensions kept, which packed bits do not say.
        """
        if self.precision in ("binary", "ubinary"):
            raw = shrunk.view(np.uint8) ^ np.uint8(0x80 if self.precision == "binary" else 0)
            return np.unpackbits(raw, axis=-1)[:, :width].astype(np.float32) * 2 - 1
        if self.ranges is None:
            return np.asarray(shrunk, dtype=np.float32)
        steps = (self.ranges[1] - self.ranges[0]) / 255
        numbers = shrunk.astype(np.float32) + (128.5 if self.precision == "int8" else 0.5)
        return np.asarray(numbers * np.where(steps == 0, 1, steps) + self.ranges[0], dtype=np.float32)

    def neighbours_kept(self, embeddings: FloatArray, shrunk: NDArray[Any], queries: int = 256) -> float | None:
        """Measure the share of nearest neighbours that survive the change of format.

        The ten nearest by cosine of some embeddings among all others are found twice, in float32 as the model gave
        them and in this format on both sides, without rescoring.

        Args:
            embeddings: as given to :meth:`shrink`.
            shrunk: what it returned.
            queries: how many, spread evenly.

        Returns:
            Between 0 and 1; None if there are not more than ten others.
        """
        count = len(embeddings)
        if count <= NEIGHBOURS + 1:
            return None
        chosen = np.unique(np.linspace(0, count - 1, min(queries, count)).astype(np.int64))
        width = self.dimensions or embeddings.shape[1]
        exact, rough = (_nearest(vectors, chosen) for vectors in (embeddings, self.restore(shrunk, width)))
        return float(np.mean([len(set(a) & set(b)) / NEIGHBOURS for a, b in zip(exact, rough, strict=True)]))


def read_ranges(path: Path) -> FloatArray:
    """Read the ranges that an earlier encoding has saved.

    Raises:
        SmoothCSEError: if the file holds none.
    """
    try:
        # Mapped first: the header may promise more than the file holds.
        ranges = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy reads the header as a Python literal, which fails in ten ways
        raise SmoothCSEError(
            f"{path} cannot be read as ranges ({first_line(error)}); give the .ranges.npy that an encoding wrote."
        ) from error
    if not isinstance(ranges, np.ndarray) or ranges.ndim != 2 or len(ranges) != 2 or ranges.dtype != np.float32:
        raise SmoothCSEError(f"{path} holds no ranges, float32 (2, d); give the .ranges.npy that an encoding wrote.")
    return np.array(ranges)


def _ranges_of(embeddings: FloatArray) -> FloatArray:
    if len(embeddings) < LEAST_CALIBRATION:
        raise SmoothCSEError(
            f"{len(embeddings)} lines are too few to find the ranges of int8 embeddings, which takes "
            f"{LEAST_CALIBRATION}; give the ranges of a larger text with --ranges."
        )
    return np.stack((embeddings.min(axis=0), embeddings.max(axis=0)))


def _nearest(vectors: FloatArray, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows nearest to the chosen rows, themselves left out."""
    unit = _unit(vectors)
    similarities = unit[chosen] @ unit.T
    similarities[np.arange(len(chosen)), chosen] = -np.inf
    return np.argsort(-similarities, axis=1, kind="stable")[:, :NEIGHBOURS]


def _unit(vectors: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
