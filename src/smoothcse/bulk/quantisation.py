"""Quantisation and truncation of embeddings, and their cost in nearest neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from sentence_transformers.util import quantize_embeddings

from smoothcse._utils.choices import EmbeddingPrecision
from smoothcse._utils.vectors import unit_rows
from smoothcse.errors import SmoothCSEError, first_line

LEAST_CALIBRATION = 100
"""Minimum embeddings to compute int8 ranges from; below it the host warns as well."""

NEIGHBOURS = 10
"""Nearest neighbours that :meth:`EmbeddingFormat.neighbours_kept` compares."""

FloatArray = NDArray[np.float32]


class EmbeddingFormat:
    """Conversion of a model's embeddings to the format in which they are stored.

    int8 and uint8 divide the range of each dimension into 256 steps. The ranges are computed from the first embeddings
    passed to :meth:`quantise` and used for all later ones; values outside are clipped. Only embeddings with the same
    ranges can be compared, so the shards of a corpus and the queries to it must share them.

    Args:
        dimensions: Number of leading dimensions to keep; None keeps all. The loss is small only for models trained for
            truncation (Matryoshka representation learning); measure it with :meth:`neighbours_kept`.
        precision: ``float32``; ``int8`` or ``uint8``, one byte per dimension; ``binary`` or ``ubinary``, one bit per
            dimension (its sign), packed into bytes.
        normalize: Whether to scale each embedding to length 1, after truncation and before quantisation.
        ranges: Minimum and maximum of each dimension, float32 ``(2, d)``; None computes them.

    Raises:
        SmoothCSEError: If the precision is unknown, or has no ranges although some are given.
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
            raise SmoothCSEError(f"{precision} embeddings have no ranges; do not give any, or choose int8 or uint8.")

    @property
    def has_ranges(self) -> bool:
        """Whether this precision uses ranges."""
        return self.precision in ("int8", "uint8")

    @property
    def is_plain(self) -> bool:
        """Whether embeddings are stored as float32 with all dimensions."""
        return self.dimensions is None and self.precision == "float32"

    def quantise(self, embeddings: FloatArray) -> NDArray[Any]:
        """Convert embeddings to this format.

        Args:
            embeddings: Embeddings of the model, float32 ``(n, d)``.

        Returns:
            Array ``(n, dimensions)`` of float32, int8 or uint8; for binary precisions ``(n, ceil(dimensions / 8))``
            bytes.

        Raises:
            SmoothCSEError: If the embeddings have fewer dimensions than requested, the ranges have another width, or
                there are too few embeddings to compute the ranges.
        """
        truncated = self.truncate(embeddings)
        if self.has_ranges and self.ranges is None:
            self.ranges = _ranges_of(truncated)
        if self.ranges is not None and self.ranges.shape[1] != truncated.shape[1]:
            raise SmoothCSEError(
                f"The ranges have {self.ranges.shape[1]} dimensions, the embeddings {truncated.shape[1]}; give the "
                "ranges of the same model and the same --dimensions."
            )
        quantised: NDArray[Any] = quantize_embeddings(truncated, precision=self.precision, ranges=self.ranges)
        return quantised

    def truncate(self, embeddings: FloatArray) -> FloatArray:
        """Truncate embeddings to the dimensions to keep, and normalise them if requested.

        Args:
            embeddings: Embeddings of the model, float32 ``(n, d)``.

        Returns:
            Embeddings, float32 ``(n, dimensions)``.

        Raises:
            SmoothCSEError: If the embeddings have fewer dimensions than requested.
        """
        width = embeddings.shape[1]
        if self.dimensions is not None and not 1 <= self.dimensions <= width:
            raise SmoothCSEError(
                f"{self.dimensions} dimensions cannot be kept: choose from 1 to {width}, the model's number of them."
            )
        truncated = np.ascontiguousarray(embeddings[:, : self.dimensions], dtype=np.float32)
        return unit_rows(truncated) if self.normalize else truncated

    def dequantise(self, quantised: NDArray[Any], width: int) -> FloatArray:
        """Dequantise embeddings: a bit becomes -1 or 1, a byte the middle of its step.

        Args:
            quantised: Result of :meth:`quantise`.
            width: Number of dimensions, which packed bits do not record.

        Returns:
            Embeddings, float32 ``(n, width)``.
        """
        if self.precision in ("binary", "ubinary"):
            raw = quantised.view(np.uint8) ^ np.uint8(0x80 if self.precision == "binary" else 0)
            return np.unpackbits(raw, axis=-1)[:, :width].astype(np.float32) * 2 - 1
        if self.ranges is None:
            return np.asarray(quantised, dtype=np.float32)
        steps = (self.ranges[1] - self.ranges[0]) / 255
        numbers = quantised.astype(np.float32) + (128.5 if self.precision == "int8" else 0.5)
        return np.asarray(numbers * np.where(steps == 0, 1, steps) + self.ranges[0], dtype=np.float32)

    def neighbours_kept(self, embeddings: FloatArray, quantised: NDArray[Any], queries: int = 256) -> float | None:
        """Return the share of nearest neighbours that this format preserves.

        For some embeddings, the ten nearest others by cosine are found twice, among the float32 embeddings and among
        the converted ones, without rescoring.

        Args:
            embeddings: Embeddings of the model, float32 ``(n, d)``.
            quantised: Result of :meth:`quantise` for them.
            queries: Number of embeddings to use as queries, evenly spaced. Default 256.

        Returns:
            Share between 0 and 1; None if there are at most ten others.
        """
        count = len(embeddings)
        if count <= NEIGHBOURS + 1:
            return None
        chosen = np.unique(np.linspace(0, count - 1, min(queries, count)).astype(np.int64))
        width = self.dimensions or embeddings.shape[1]
        exact, rough = (_nearest(vectors, chosen) for vectors in (embeddings, self.dequantise(quantised, width)))
        return float(np.mean([len(set(a) & set(b)) / NEIGHBOURS for a, b in zip(exact, rough, strict=True)]))


def read_ranges(path: Path) -> FloatArray:
    """Read the ranges that an earlier encoding saved.

    Args:
        path: ``.ranges.npy`` file.

    Returns:
        Minimum and maximum of each dimension, float32 ``(2, d)``.

    Raises:
        SmoothCSEError: If the file cannot be read or does not contain ranges.
    """
    try:
        # Memory-mapped, since the header may claim more data than the file contains.
        ranges = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses the header as a Python literal, which can raise many exceptions
        raise SmoothCSEError(
            f"{path} cannot be read as ranges ({first_line(error)}); give the .ranges.npy that an encoding wrote."
        ) from error
    if not isinstance(ranges, np.ndarray) or ranges.ndim != 2 or len(ranges) != 2 or ranges.dtype != np.float32:
        raise SmoothCSEError(
            f"{path} contains no ranges, float32 (2, d); give the .ranges.npy that an encoding wrote."
        )
    return np.array(ranges)


def _ranges_of(embeddings: FloatArray) -> FloatArray:
    if len(embeddings) < LEAST_CALIBRATION:
        raise SmoothCSEError(
            f"{len(embeddings)} lines are too few to compute the ranges of int8 embeddings, which takes "
            f"{LEAST_CALIBRATION}; give the ranges of a larger text with --ranges."
        )
    return np.stack((embeddings.min(axis=0), embeddings.max(axis=0)))


def _nearest(vectors: FloatArray, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the nearest other rows of the chosen rows, ``(len(chosen), NEIGHBOURS)``."""
    unit = unit_rows(vectors)
    similarities = unit[chosen] @ unit.T
    similarities[np.arange(len(chosen)), chosen] = -np.inf
    return np.argsort(-similarities, axis=1, kind="stable")[:, :NEIGHBOURS]
