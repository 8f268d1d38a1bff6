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

import torch
from torch import Tensor
from torch.nn import functional

from smoothcse.objectives.held_share import balance_noise, noise_share
from smoothcse.objectives.keys import HardNegatives, Keys, as_hard_negatives, own_columns, without_own
from smoothcse.objectives.log_sum_exps import LogSumExps
from smoothcse.objectives.loss_form import INFO_NCE, Contrast, LossForm, contrast_of
from smoothcse.objectives.noise import NO_NOISE, Noise, as_noise, log_expected_similarity
from smoothcse.objectives.rows import at_least_float32, unit_rows


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
    form: LossForm = INFO_NCE,
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
        form: Formula of the loss.
        temperature: ``τ > 0``.
        step: Optimiser step that the noise is drawn for.
        own: Logits ``(N,)`` that replace those of the anchors with their own positives, or None.
    """
    if form.changes_formula:
        logits = similarity_logits(anchors, keys, noise, temperature=temperature, step=step)
        logits = logits if own is None else with_own_logits(logits, own, keys.first_positive)
        return contrast_of(dense_log_sum_exps(logits, keys, noise), keys, noise, form, temperature=temperature)
    logits = _balanced_logits(anchors, keys, noise, temperature=temperature, step=step, own=own)
    positives, first = len(keys.positives), keys.first_positive
    return Contrast(
        own_positive_loss(logits, first),
        noise_share(logits, positives, noise.columns_for(positives), first_positive=first),
    )


def dense_log_sum_exps(logits: Tensor, keys: Keys, noise: Noise = NO_NOISE) -> LogSumExps:
    """Return the terms of the loss of each anchor, given the logits from :func:`similarity_logits`."""
    positives, columns = len(keys.positives), noise.columns_for(len(keys.positives))
    others = without_own(logits, keys.first_positive)
    sentences, drawn, rest = others.split([positives, columns, logits.shape[1] - positives - columns], dim=1)
    return LogSumExps(
        own=logits.gather(1, own_columns(logits, keys.first_positive).unsqueeze(1)).squeeze(1),
        negatives=torch.cat([sentences, rest], dim=1).logsumexp(dim=1),
        noise=drawn.logsumexp(dim=1) if columns else None,
        hardest=sentences.detach().amax(dim=1),
    )


def own_positive_loss(logits: Tensor, first_positive: int = 0) -> Tensor:
    r"""Return the mean cross-entropy of ``(N, K + M + H)`` logits, the label of row ``i`` is its own positive.

    .. math:: \frac1N \sum_i \log\Bigl(1 + e^{-s_i^+} \sum_j e^{s_{ij}^-}\Bigr)

    This form keeps its precision in float32 for a loss far below 1, as trained encoders have. The difference of a
    log-sum-exp and the positive logit, each near ``1/τ``, loses three digits at a loss of ``5e-5``.
    """
    own = logits.gather(1, own_columns(logits, first_positive).unsqueeze(1)).squeeze(1)
    negatives = without_own(logits, first_positive).logsumexp(dim=1)
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
        if keys.false_negatives is not None:
            blocks[0] = _without_false_negatives(blocks[0], keys)
        hard = keys.hard_negatives
        if hard is not None and hard.log_weight:
            blocks[1] = blocks[1] + _on_own_column(blocks[1], keys.first_positive, hard.log_weight)
        count = noise.count_for(len(keys.positives))
        if count:  # separate, since it gets no gradient
            blocks.insert(1, _noise_block(queries, noise, count, temperature, step))
        return torch.cat(blocks, dim=1)


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


def _without_false_negatives(logits: Tensor, keys: Keys) -> Tensor:
    """Remove the mass of the false negatives from the in-batch columns."""
    assert keys.false_negatives is not None
    found = keys.false_negatives.among(0, logits.shape[1])
    found = found.scatter(1, own_columns(logits, keys.first_positive).unsqueeze(1), False)
    return logits.masked_fill(found, torch.finfo(logits.dtype).min)


def _on_own_column(block: Tensor, first_positive: int, value: float) -> Tensor:
    own = own_columns(block, first_positive).unsqueeze(1)
    return torch.zeros_like(block).scatter(1, own, value)
