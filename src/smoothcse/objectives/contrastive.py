"""InfoNCE and its Gaussian-smoothed form, GS-InfoNCE.

The symbols are those of Wu et al., "Smoothed Contrastive Learning for Unsupervised Sentence Embedding" (COLING
2022): ``z1`` anchors, ``z2`` positives, ``z3`` hard negatives, ``g`` Gaussian noise, ``τ`` temperature, ``λ`` noise
weight, and ``s(a, b) = cos(a, b) / τ``.

All forms use one matrix of logits. Its columns form blocks::

    [ s(z1, z2)  N x K | s(z1, g) + log λ  N x M | s(z1, z3) + w on the diagonal  N x H | s(z1, z4)  N x F ]

and the loss is the mean cross-entropy of its rows, the label of row ``i`` being its own positive.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from smoothcse.objectives.keys import HardNegatives, Keys, as_hard_negatives, own_columns
from smoothcse.objectives.noise import NO_NOISE, Noise, as_noise, log_expected_similarity
from smoothcse.objectives.rows import at_least_float32, unit_rows


class Contrast(NamedTuple):
    """The result of scoring a batch.

    Attributes:
        loss: Scalar, in float32 (float64 for float64 input).
        noise_share: Detached scalar in [0, 1]; see :func:`noise_share`.
    """

    loss: Tensor
    noise_share: Tensor


def info_nce(
    anchors: Tensor,
    positives: Tensor,
    *,
    hard_negatives: HardNegatives | Tensor | None = None,
    temperature: float = 0.05,
    first_positive: int = 0,
) -> Tensor:
    r"""InfoNCE as unsupervised SimCSE uses it (Gao et al., EMNLP 2021, eq. 4): GS-InfoNCE without noise.

    .. math:: L = -\frac1N \sum_i \log \frac{e^{s(z1_i, z2_i)}}{\sum_j e^{s(z1_i, z2_j)}}

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        positives: ``z2``, float ``(K, d)`` with ``K >= N``; row ``first_positive + i`` belongs to anchor ``i``.
        hard_negatives: ``z3``, float ``(H, d)``, with a weight if they come as
            :class:`~smoothcse.objectives.HardNegatives`; or None.
        temperature: ``τ > 0``.
        first_positive: Row of this rank's first positive when ``positives`` were gathered from several ranks.

    Returns:
        The scalar loss, in float32 (float64 for float64 input) regardless of autocast.
    """
    return gs_info_nce(
        anchors, positives, hard_negatives=hard_negatives, temperature=temperature, first_positive=first_positive
    )


def gs_info_nce(
    anchors: Tensor,
    positives: Tensor,
    *,
    noise: Noise | Tensor | None = None,
    hard_negatives: HardNegatives | Tensor | None = None,
    temperature: float = 0.05,
    first_positive: int = 0,
    step: int = 0,
) -> Tensor:
    r"""GS-InfoNCE (Wu et al., COLING 2022): InfoNCE with Gaussian vectors as extra negatives.

    .. math::

        L = -\frac1N \sum_i \log \frac{e^{s(z1_i, z2_i)}}
            {\sum_j e^{s(z1_i, z2_j)} + λ \sum_{k=1}^{M} e^{s(z1_i, g_k)}}

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        positives: ``z2``, float ``(K, d)`` with ``K >= N``; row ``first_positive + i`` belongs to anchor ``i``.
        noise: ``g``, float ``(M, d)``, e.g. from :class:`~smoothcse.objectives.GaussianNoise`, of weight ``λ = 1``; or
            a :class:`~smoothcse.objectives.Noise` with its own count, weight and source; None for no noise.
        hard_negatives: ``z3``, float ``(H, d)``, with a weight if they come as
            :class:`~smoothcse.objectives.HardNegatives`; or None.
        temperature: ``τ > 0``.
        first_positive: Row of this rank's first positive when ``positives`` were gathered from several ranks.
        step: Optimiser step that a :class:`~smoothcse.objectives.Noise` is drawn for.

    Returns:
        The scalar loss, in float32 (float64 for float64 input) regardless of autocast.
    """
    keys = Keys(positives, as_hard_negatives(hard_negatives), first_positive=first_positive)
    logits = _balanced_logits(anchors, keys, as_noise(noise), temperature=temperature, step=step)
    return own_positive_loss(logits, first_positive)


def dense_contrast(
    anchors: Tensor,
    keys: Keys,
    noise: Noise = NO_NOISE,
    *,
    temperature: float = 0.05,
    step: int = 0,
    own: Tensor | None = None,
) -> Contrast:
    """Return the loss of a batch and its noise share, from the matrix of all logits.

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        keys: Vectors that the anchors are scored against.
        noise: Gaussian negatives.
        temperature: ``τ > 0``.
        step: Optimiser step that the noise is drawn for.
        own: Logits ``(N,)`` that replace those of the anchors with their own positives, or None.
    """
    logits = _balanced_logits(anchors, keys, noise, temperature=temperature, step=step, own=own)
    positives, first = len(keys.positives), keys.first_positive
    return Contrast(
        own_positive_loss(logits, first),
        noise_share(logits, positives, noise.columns_for(positives), first_positive=first),
    )


def own_positive_loss(logits: Tensor, first_positive: int = 0) -> Tensor:
    r"""Return the mean cross-entropy of ``(N, K + M + H)`` logits, the label of row ``i`` is its own positive.

    .. math:: \frac1N \sum_i \log\Bigl(1 + e^{-s_i^+} \sum_j e^{s_{ij}^-}\Bigr)

    This form keeps its precision in float32 for a loss far below 1, as trained encoders have. The difference of a
    log-sum-exp and the positive logit, each near ``1/τ``, loses three digits at a loss of ``5e-5``.
    """
    own = logits.gather(1, own_columns(logits, first_positive).unsqueeze(1)).squeeze(1)
    negatives = _without_own(logits, first_positive).logsumexp(dim=1)
    return functional.softplus(negatives - own).mean()


def similarity_logits(
    anchors: Tensor, keys: Keys, noise: Noise = NO_NOISE, *, temperature: float = 0.05, step: int = 0
) -> Tensor:
    """Return the logits of a batch, with the noise at its own weight.

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        keys: Vectors that the anchors are scored against.
        noise: Gaussian negatives. Their ``share`` is not applied here; see :func:`balance_noise`.
        temperature: ``τ > 0``.
        step: Optimiser step that the noise is drawn for.

    Returns:
        ``(N, K + M + H + F)``: in-batch, noise, hard-negative and further columns, in that order. In expected mode
        the noise block is a single constant column.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        given = [anchors, *keys.blocks()]
        rows = unit_rows(torch.cat([at_least_float32(block) for block in given]))
        queries, *others = rows.split([len(block) for block in given])
        queries = queries / temperature
        blocks = [queries @ block.T for block in others]
        hard = keys.hard_negatives
        if hard is not None and hard.log_weight:
            blocks[1] = blocks[1] + _on_own_column(blocks[1], keys.first_positive, hard.log_weight)
        count = noise.count_for(len(keys.positives))
        if count:  # separate, since it gets no gradient
            blocks.insert(1, _noise_block(queries, noise, count, temperature, step))
        return torch.cat(blocks, dim=1)


def noise_share(logits: Tensor, positive_count: int, noise_columns: int, *, first_positive: int = 0) -> Tensor:
    r"""Fraction of the denominator's *negative* mass that the noise contributes, averaged over anchors.

    .. math::

        \frac1N \sum_i \frac{λ \sum_k e^{s(z1_i, g_k)}}
            {\sum_{j \ne i} e^{s(z1_i, z2_j)} + λ \sum_k e^{s(z1_i, g_k)}}

    Hard negatives count as negatives. Near 0, the smoothing is inactive; near 1, the sentences have no effect.

    Args:
        logits: ``(N, K + M + H)`` from :func:`similarity_logits`.
        positive_count: ``K``.
        noise_columns: Width of the noise block: ``M``, or 1 in expected mode, or 0.
        first_positive: Row of this rank's first positive; see :func:`gs_info_nce`.

    Returns:
        A detached scalar in [0, 1].
    """
    with torch.no_grad():
        if not noise_columns:
            return logits.new_zeros(())
        negatives = _without_own(logits, first_positive)
        noise = negatives[:, positive_count : positive_count + noise_columns]
        return (noise.logsumexp(dim=1) - negatives.logsumexp(dim=1)).exp().mean()


def balance_noise(
    logits: Tensor, positive_count: int, noise_columns: int, share: float, *, first_positive: int = 0
) -> Tensor:
    r"""Weight the noise so that it has a given share of each anchor's negative mass.

    .. math::

        λ_i = \frac{share}{1 - share} \cdot
            \frac{\sum_{j \ne i} e^{s(z1_i, z2_j)}}{\sum_k e^{s(z1_i, g_k)}}

    ``λ`` has no gradient. With a fixed ``λ`` the share changes with batch size, ``τ``, ``d`` and the progress of
    training; with this ``λ_i`` it is constant. This is our extension, not part of the paper.

    Args:
        logits: Logits from :func:`similarity_logits` with noise weight 1.
        positive_count: ``K``.
        noise_columns: Width of the noise block: ``M``, or 1 in expected mode.
        share: Share of the noise, in (0, 1).
        first_positive: Row of this rank's first positive; see :func:`gs_info_nce`.

    Returns:
        The logits with ``log λ_i`` added to the noise block.
    """
    rest = logits.shape[1] - positive_count - noise_columns
    sentences, noise, hard_negatives = logits.split([positive_count, noise_columns, rest], dim=1)
    with torch.no_grad():
        negatives = torch.cat([_without_own(sentences, first_positive), hard_negatives], dim=1).logsumexp(dim=1)
        log_weight = math.log(share / (1 - share)) + negatives - noise.logsumexp(dim=1)
    return torch.cat([sentences, noise + log_weight.unsqueeze(1), hard_negatives], dim=1)


def with_own_logits(logits: Tensor, own: Tensor, first_positive: int = 0) -> Tensor:
    """Return the logits with those of the anchors and their own positives replaced by ``own``, ``(N,)``."""
    return logits.scatter(1, own_columns(logits, first_positive).unsqueeze(1), own.to(logits.dtype).unsqueeze(1))


def _balanced_logits(
    anchors: Tensor, keys: Keys, noise: Noise, *, temperature: float, step: int, own: Tensor | None = None
) -> Tensor:
    """Return the logits with the own logits replaced and the noise at its share, if these are given."""
    logits = similarity_logits(anchors, keys, noise, temperature=temperature, step=step)
    positives, first = len(keys.positives), keys.first_positive
    if own is not None:
        logits = with_own_logits(logits, own, first)
    columns = noise.columns_for(positives)
    if noise.share is not None and columns:
        logits = balance_noise(logits, positives, columns, noise.share, first_positive=first)
    return logits


def _noise_block(queries: Tensor, noise: Noise, count: int, temperature: float, step: int) -> Tensor:
    """Return the noise columns of the logits, given unit queries divided by ``τ``."""
    width = queries.shape[1]
    if noise.mode == "expected":
        logit = math.log(noise.weight * count) + log_expected_similarity(width, temperature)
        return queries.new_full((len(queries), 1), logit)
    drawn = noise.source.draw(step, count, width, device=queries.device)
    return torch.einsum("nd,md->nm", queries, unit_rows(drawn.to(queries.dtype))) + math.log(noise.weight)


def _without_own(logits: Tensor, first_positive: int) -> Tensor:
    """Remove the mass of each anchor's own positive."""
    # A finite value: a row of minus infinity alone would have no gradient, not even zero.
    own = own_columns(logits, first_positive).unsqueeze(1)
    return logits.scatter(1, own, torch.finfo(logits.dtype).min)


def _on_own_column(block: Tensor, first_positive: int, value: float) -> Tensor:
    own = own_columns(block, first_positive).unsqueeze(1)
    return torch.zeros_like(block).scatter(1, own, value)
