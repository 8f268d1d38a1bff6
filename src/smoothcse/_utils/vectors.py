"""Vectors as NumPy arrays; :mod:`smoothcse.objectives.rows` has the same for tensors."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Float = TypeVar("Float", bound=np.floating[Any])


def unit_rows(vectors: NDArray[Float]) -> NDArray[Float]:
    """Scale the vectors of the last axis to length 1, in their own precision; a vector of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))
