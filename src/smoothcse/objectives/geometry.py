r"""Geometry of a set of embeddings: alignment, uniformity, mean cosine, effective rank and hubness.

Everything is computed in float32 (float64 for float64 input) regardless of autocast, and every function except
:func:`effective_rank` divides each row by its length first.

Published figures of the same model usually disagree for one of four reasons:

* vectors that were *not normalised*: alignment and uniformity then measure lengths, not directions;
* *pairs of a row with itself*: each adds ``exp(0) = 1`` to the mean of uniformity and, for small ``n``, hides
  the rest;
* the vector *behind the training head*: unsupervised SimCSE publishes the raw [CLS] state, and the head's output
  has another geometry;
* *other data*: SimCSE and its successors use STS-B, with pairs scored above 4 as positives for alignment and all
  sentences for uniformity. Another split or threshold gives another figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from smoothcse.objectives.rows import at_least_float32, unit_rows

# Elements of the largest block of similarities held at once: 64 MB of float32.
_BLOCK = 2**24


def alignment(x: Tensor, y: Tensor, alpha: float = 2.0) -> Tensor:
    r"""Mean distance of positive pairs on the sphere (Wang & Isola, ICML 2020, sec. 4.1); smaller is closer.

    .. math:: \frac1n \sum_i \lVert \hat x_i - \hat y_i \rVert_2^{α}

    Args:
        x: Embeddings, float ``(n, d)``; need not be normalised.
        y: Positives, float ``(n, d)``; row ``i`` is the positive of row ``i`` of ``x``. For figures that are
            comparable with the papers, use the two *sentences* of pairs scored above 4, not two views of one sentence.
        alpha: Exponent, ``α > 0``.

    Returns:
        A scalar in ``[0, 2^α]``.
    """
    distances: Tensor = torch.linalg.vector_norm(unit_rows(x) - unit_rows(y), dim=1)
    return distances.pow(alpha).mean()


def uniformity(x: Tensor, t: float = 2.0, *, chunk_size: int | None = None) -> Tensor:
    r"""Log of the mean Gaussian potential of pairs (Wang & Isola, ICML 2020, sec. 4.1); smaller is more even.

    .. math:: \log \frac{2}{n(n-1)} \sum_{i<j} e^{-t \lVert \hat x_i - \hat x_j \rVert_2^2}

    Only pairs of *distinct rows* count, including distinct rows with equal values.

    Args:
        x: Embeddings, float ``(n, d)`` with ``n >= 2``; need not be normalised.
        t: Scale, ``t > 0``.
        chunk_size: Rows per block; None for blocks of about 64 MB. The result does not depend on it.

    Returns:
        A scalar in ``[-4t, 0]``: 0 when all directions coincide, about ``-2t`` for random directions in many
        dimensions, ``-4t`` only for two opposite vectors.

    Raises:
        ValueError: If there are fewer than two rows.
    """
    n = _at_least_two(x)
    with torch.autocast(x.device.type, enabled=False):
        unit = unit_rows(x)
        blocks = [
            # ||a - b||² = 2 - 2 a.b on the sphere; the triangle leaves each pair once and no row with itself.
            _upper(2.0 * t * (unit[rows] @ unit[rows.start :].T - 1.0)).logsumexp(dim=(0, 1))
            for rows in _row_blocks(n, chunk_size)
        ]
        # Rounding lifts the product of equal unit vectors a little above 1.
        return (torch.stack(blocks).logsumexp(dim=0) - math.log(n * (n - 1) / 2)).clamp_max(0.0)


def mean_cosine(x: Tensor) -> Tensor:
    r"""Mean cosine of distinct rows, the usual measure of anisotropy (Ethayarajh, EMNLP 2019).

    .. math:: \frac{\lVert \sum_i \hat x_i \rVert^2 - \sum_i \lVert \hat x_i \rVert^2}{n(n-1)}

    This closed form of the off-diagonal mean takes ``O(nd)``. Including the diagonal would add ``1/n``.

    Args:
        x: Embeddings, float ``(n, d)`` with ``n >= 2``; need not be normalised.

    Returns:
        A scalar in ``[-1/(n-1), 1]``; a row of zeros has cosine 0 with every other row.

    Raises:
        ValueError: If there are fewer than two rows.
    """
    n = _at_least_two(x)
    unit = unit_rows(x)
    return (unit.sum(dim=0).square().sum() - unit.square().sum()) / (n * (n - 1))


def effective_rank(x: Tensor) -> Tensor:
    r"""Number of axes that the rows use, as a real number (Roy & Vetterli, EUSIPCO 2007).

    .. math:: \exp\Bigl(-\sum_k p_k \log p_k\Bigr), \qquad p_k = σ_k / \sum_l σ_l

    with ``σ`` the singular values of ``x`` as given: neither normalised nor centred. The common form with ``σ²``
    (eigenvalues of the covariance) gives smaller values, and so does a large common mean, which
    ``x - x.mean(dim=0)`` removes.

    Args:
        x: Embeddings, float ``(n, d)``.

    Returns:
        A scalar in ``[1, min(n, d)]``; 1 for a matrix of zeros.
    """
    singular: Tensor = torch.linalg.svdvals(at_least_float32(x))
    total = singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)
    entropy: Tensor = torch.special.entr(singular / total).sum()
    return entropy.exp()


def hubness(x: Tensor, k: int = 10, *, chunk_size: int | None = None) -> Tensor:
    r"""Skewness of the ``k``-occurrences (Radovanović et al., JMLR 2010); large when a few rows are hubs.

    With ``N_k(x_j)`` the number of other rows that have ``x_j`` among their ``k`` nearest by cosine,

    .. math:: \frac{\frac1n \sum_j (N_k(x_j) - k)^3}{\bigl(\frac1n \sum_j (N_k(x_j) - k)^2\bigr)^{3/2}}

    A row is never its own neighbour. Duplicate sentences tie and are ranked arbitrarily, so remove them first.

    Args:
        x: Embeddings, float ``(n, d)``; need not be normalised.
        k: Neighbours per row, ``1 <= k < n``.
        chunk_size: Rows per block; None for blocks of about 64 MB. The result does not depend on it.

    Returns:
        A scalar; 0 if every row occurs equally often.

    Raises:
        ValueError: If ``k`` is not between 1 and ``n - 1``.
    """
    n = len(x)
    if not 1 <= k < n:
        raise ValueError(f"k must lie between 1 and n - 1 = {n - 1}, not {k}")
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        unit = unit_rows(x)
        occurrences = torch.zeros(n, dtype=torch.long, device=x.device)
        for rows in _row_blocks(n, chunk_size):
            similarity = unit[rows] @ unit.T
            similarity[:, rows].fill_diagonal_(-torch.inf)
            occurrences += similarity.topk(k, dim=1).indices.flatten().bincount(minlength=n)
        deviation = (occurrences - k).to(unit.dtype)  # each row names k others, so the mean is k exactly
        variance = deviation.square().mean()
        return torch.where(variance > 0, deviation.pow(3).mean() / variance.clamp_min(1e-12).pow(1.5), 0.0)


def _at_least_two(x: Tensor) -> int:
    if len(x) < 2:
        raise ValueError(f"at least two rows are needed, but x has {len(x)}")
    return len(x)


def _row_blocks(n: int, chunk_size: int | None) -> Iterator[slice]:
    """Divide ``n`` rows into blocks whose product with all rows fits into memory."""
    size = chunk_size or max(1, _BLOCK // n)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _upper(block: Tensor) -> Tensor:
    """Set everything but the part above the diagonal to minus infinity."""
    above = torch.ones(block.shape, dtype=torch.bool, device=block.device).triu(1)
    return block.masked_fill(~above, -torch.inf)
