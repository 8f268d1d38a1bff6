"""InfoNCE and its Gaussian-smoothed form, GS-InfoNCE.

The symbols are those of Wu et al., "Smoothed Contrastive Learning for Unsupervised Sentence Embedding" (COLING
2022): ``z1`` anchors, ``z2`` positives, ``z3`` hard negatives, ``g`` Gaussian noise, ``τ`` temperature, ``λ`` noise
weight, and ``s(a, b) = cos(a, b) / τ``.

One matrix of logits serves every form. Its columns stand in blocks::

    [ s(z1, z2)  N x K | s(z1, g) + log λ  N x M | s(z1, z3) + w on the diagonal  N x H | s(z1, z4)  N x F ]

and the loss is the mean cross-entropy of its rows, the label of row ``i`` being its own positive.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from smoothcse.objectives.noise import log_expected_similarity


def info_nce(
    anchors: Tensor,
    positives: Tensor,
    *,
    hard_negatives: Tensor | None = None,
    hard_negative_log_weight: float = 0.0,
    temperature: float = 0.05,
    first_positive: int = 0,
) -> Tensor:
    r"""InfoNCE as unsupervised SimCSE uses it (Gao et al., EMNLP 2021, eq. 4): GS-InfoNCE without noise.

    .. math:: L = -\frac1N \sum_i \log \frac{e^{s(z1_i, z2_i)}}{\sum_j e^{s(z1_i, z2_j)}}

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        positives: ``z2``, float ``(K, d)`` with ``K >= N``; row ``first_positive + i`` belongs to anchor ``i``.
        hard_negatives: ``z3``, float ``(H, d)``, or None.
        hard_negative_log_weight: added to the logit of each anchor's own hard negative (SimCSE, eq. 8: a
            *log*-weight, so 0 means weight 1).
        temperature: ``τ > 0``.
        first_positive: where this rank's positives start when ``positives`` were gathered from several ranks.

    Returns:
        The scalar loss, in float32 (float64 for float64 input) whatever autocast says.
    """
    return gs_info_nce(
        anchors,
        positives,
        hard_negatives=hard_negatives,
        hard_negative_log_weight=hard_negative_log_weight,
        temperature=temperature,
        first_positive=first_positive,
    )


def gs_info_nce(
    anchors: Tensor,
    positives: Tensor,
    *,
    noise: Tensor | None = None,
    noise_weight: float = 1.0,
    expected_noise_count: int = 0,
    hard_negatives: Tensor | None = None,
    hard_negative_log_weight: float = 0.0,
    temperature: float = 0.05,
    first_positive: int = 0,
) -> Tensor:
    r"""GS-InfoNCE (Wu et al., COLING 2022): InfoNCE with Gaussian vectors as extra negatives.

    .. math::

        L = -\frac1N \sum_i \log \frac{e^{s(z1_i, z2_i)}}
            {\sum_j e^{s(z1_i, z2_j)} + λ \sum_{k=1}^{M} e^{s(z1_i, g_k)}}

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        positives: ``z2``, float ``(K, d)`` with ``K >= N``; row ``first_positive + i`` belongs to anchor ``i``.
        noise: ``g``, float ``(M, d)``, e.g. from :class:`~smoothcse.objectives.GaussianNoise`; or ``(N, M, d)``,
            another ``g`` for each anchor, which the paper does not do; None for none.
        noise_weight: ``λ > 0``; adds ``log λ`` to the noise logits. The authors' released code has an option
            for it and never reads it, so their runs are ``λ = 1``.
        expected_noise_count: ``M`` when the noise sum is replaced by its expectation, a constant
            ``λ M E[exp(cos / τ)]`` in the denominator (:func:`~smoothcse.objectives.log_expected_similarity`).
        hard_negatives: ``z3``, float ``(H, d)``, or None.
        hard_negative_log_weight: added to the logit of each anchor's own hard negative (SimCSE, eq. 8).
        temperature: ``τ > 0``.
        first_positive: where this rank's positives start when ``positives`` were gathered from several ranks.

    Returns:
        The scalar loss, in float32 (float64 for float64 input) whatever autocast says.
    """
    logits = similarity_logits(
        anchors,
        positives,
        noise=noise,
        noise_weight=noise_weight,
        expected_noise_count=expected_noise_count,
        hard_negatives=hard_negatives,
        hard_negative_log_weight=hard_negative_log_weight,
        temperature=temperature,
        first_positive=first_positive,
    )
    return own_positive_loss(logits, first_positive)


def own_positive_loss(logits: Tensor, first_positive: int = 0) -> Tensor:
    r"""Return the mean cross-entropy of ``(N, K + M + H)`` logits, row ``i``'s label being its own positive.

    .. math:: \frac1N \sum_i \log\Bigl(1 + e^{-s_i^+} \sum_j e^{s_{ij}^-}\Bigr)

    In this form a loss far below 1, which is what trained encoders have, keeps its digits in float32; the difference
    of a log-sum-exp and the positive logit, each near ``1/τ``, has lost three of them at a loss of ``5e-5``.
    """
    own = logits.gather(1, _own_columns(logits, first_positive).unsqueeze(1)).squeeze(1)
    negatives = _without_own(logits, first_positive).logsumexp(dim=1)
    return functional.softplus(negatives - own).mean()


def similarity_logits(
    anchors: Tensor,
    positives: Tensor,
    *,
    noise: Tensor | None = None,
    noise_weight: float = 1.0,
    expected_noise_count: int = 0,
    hard_negatives: Tensor | None = None,
    hard_negative_log_weight: float = 0.0,
    further_negatives: Tensor | None = None,
    temperature: float = 0.05,
    first_positive: int = 0,
) -> Tensor:
    """Return the logits of :func:`gs_info_nce`, whose arguments these are but for ``further_negatives``.

    Those are ``z4``, float ``(F, d)``: negatives that belong to no anchor, such as a queue of earlier sentences, so
    that ``hard_negative_log_weight`` never reaches them.

    Returns:
        ``(N, K + M + H + F)``: in-batch, noise, hard-negative and further columns, in that order. In expected mode
        the noise block is a single constant column.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        given = [block for block in (anchors, positives, hard_negatives, further_negatives) if block is not None]
        rows = functional.normalize(torch.cat([_at_least_float32(block) for block in given]), dim=1)
        queries, *keys = rows.split([len(block) for block in given])
        queries = queries / temperature
        blocks = [queries @ block.T for block in keys]
        if hard_negatives is not None and hard_negative_log_weight:
            blocks[1] = blocks[1] + _on_own_column(blocks[1], first_positive, hard_negative_log_weight)
        if noise is not None:  # apart from the others, as no gradient goes to it
            unit_noise = functional.normalize(noise.to(queries.dtype), dim=-1)
            pattern = "nd,md->nm" if noise.ndim == 2 else "nd,nmd->nm"
            blocks.insert(1, torch.einsum(pattern, queries, unit_noise) + math.log(noise_weight))
        if expected_noise_count:
            blocks.insert(
                1, _expected_noise_column(anchors, blocks[0], expected_noise_count, noise_weight, temperature)
            )
        return torch.cat(blocks, dim=1)


def noise_share(logits: Tensor, positive_count: int, noise_columns: int, *, first_positive: int = 0) -> Tensor:
    r"""Fraction of the denominator's *negative* mass that the noise contributes, averaged over anchors.

    .. math::

        \frac1N \sum_i \frac{λ \sum_k e^{s(z1_i, g_k)}}
            {\sum_{j \ne i} e^{s(z1_i, z2_j)} + λ \sum_k e^{s(z1_i, g_k)}}

    (hard negatives count among the negatives). Near 0 the smoothing is not active; near 1 the noise drowns the
    sentences.

    Args:
        logits: ``(N, K + M + H)`` from :func:`similarity_logits`.
        positive_count: ``K``.
        noise_columns: width of the noise block: ``M``, or 1 in expected mode, or 0.
        first_positive: as in :func:`gs_info_nce`.

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
    r"""Weigh the noise anew, so that it holds a given share of each anchor's negative mass.

    .. math::

        λ_i = \frac{share}{1 - share} \cdot
            \frac{\sum_{j \ne i} e^{s(z1_i, z2_j)}}{\sum_k e^{s(z1_i, g_k)}}

    ``λ`` is a constant to the gradient. Under a fixed ``λ`` the share moves with batch size, ``τ``, ``d`` and the
    progress of training; here it does not. Our own; not in the paper.

    Args:
        logits: from :func:`similarity_logits` with noise weight 1.
        positive_count: ``K``.
        noise_columns: width of the noise block: ``M``, or 1 in expected mode.
        share: in (0, 1).
        first_positive: as in :func:`gs_info_nce`.

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
    """Return the logits with others ``(N,)`` in the place of those of the anchors with their own positives."""
    return logits.scatter(1, _own_columns(logits, first_positive).unsqueeze(1), own.to(logits.dtype).unsqueeze(1))


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _own_columns(anchors: Tensor, first_positive: int) -> Tensor:
    return torch.arange(len(anchors), device=anchors.device) + first_positive


def _without_own(logits: Tensor, first_positive: int) -> Tensor:
    """Give each anchor's own positive no mass."""
    # Not minus infinity: a row of nothing else would have no gradient, not even zero.
    own = _own_columns(logits, first_positive).unsqueeze(1)
    return logits.scatter(1, own, torch.finfo(logits.dtype).min)


def _on_own_column(block: Tensor, first_positive: int, value: float) -> Tensor:
    own = _own_columns(block, first_positive).unsqueeze(1)
    return torch.zeros_like(block).scatter(1, own, value)


def _expected_noise_column(
    anchors: Tensor, like: Tensor, count: int, noise_weight: float, temperature: float
) -> Tensor:
    mass = math.log(noise_weight * count) + log_expected_similarity(anchors.shape[1], temperature)
    return like.new_full((len(anchors), 1), mass)
