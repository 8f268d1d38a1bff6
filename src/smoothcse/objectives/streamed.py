r"""GS-InfoNCE without the full matrix of logits, for batches whose matrix does not fit into memory.

The loss of row ``i`` depends on three numbers: its own logit and the log-sum-exps of its negatives and of its noise,

.. math:: L = \frac1N \sum_i \log\Bigl(1 + e^{n_i - s_i^+} + λ\, e^{g_i - s_i^+}\Bigr), \qquad
          n_i = \log \sum_{j \ne i} e^{s(z1_i, z2_j)}, \quad g_i = \log \sum_k e^{s(z1_i, g_k)}

Both sums run over blocks of keys, whose logits are computed, summed and discarded. The backward pass computes them
again, as attention kernels do. Noise is drawn block by block, once per pass, and never stored. Memory holds the
embeddings and one block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from smoothcse.objectives.false_negatives import FalseNegatives
from smoothcse.objectives.keys import Keys, own_columns
from smoothcse.objectives.log_sum_exps import LogSumExps
from smoothcse.objectives.loss_form import INFO_NCE, Contrast, LossForm, contrast_of
from smoothcse.objectives.noise import NO_NOISE, Noise, log_expected_similarity
from smoothcse.objectives.rows import unit_rows

BLOCK_ELEMENTS = 2**24
"""Maximum logits in memory at a time: 64 MB of float32."""

KeyBlocks = Callable[[], Iterator[Tensor]]
"""A function that yields the keys as unit rows, block by block, the same on every call."""


def streamed_contrast(
    anchors: Tensor,
    keys: Keys,
    noise: Noise = NO_NOISE,
    form: LossForm = INFO_NCE,
    *,
    temperature: float = 0.05,
    step: int = 0,
    own: Tensor | None = None,
) -> Contrast:
    """Return the result of :func:`~smoothcse.objectives.dense_contrast` in memory independent of ``N (N + M)``.

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        keys: Vectors that the anchors are scored against.
        noise: Gaussian negatives.
        form: Formula of the loss.
        temperature: ``τ > 0``.
        step: Optimiser step that the noise is drawn for.
        own: Logits ``(N,)`` that replace those of the anchors with their own positives, or None.
    """
    terms = streamed_log_sum_exps(anchors, keys, noise, temperature=temperature, step=step)
    if own is not None:
        terms = terms._replace(own=own)
    if form.hinge is not None:
        terms = terms._replace(hardest=streamed_hardest(anchors, keys, temperature=temperature))
    return contrast_of(terms, keys, noise, form, temperature=temperature)


def streamed_log_sum_exps(
    anchors: Tensor,
    keys: Keys,
    noise: Noise = NO_NOISE,
    *,
    temperature: float = 0.05,
    step: int = 0,
    block_elements: int = BLOCK_ELEMENTS,
) -> LogSumExps:
    """Return the terms of the loss of a batch, with the noise at its own weight.

    The loss and its gradients equal those of :func:`~smoothcse.objectives.gs_info_nce` up to the order of summation.
    It can be differentiated once.

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        keys: Vectors that the anchors are scored against.
        noise: Gaussian negatives. Their ``share`` is not applied here; see :meth:`LogSumExps.balanced`.
        temperature: ``τ > 0``.
        step: Optimiser step that the noise is drawn for.
        block_elements: Maximum logits in memory at a time.
    """
    width = max(1, block_elements // max(1, len(anchors)))
    with torch.autocast(anchors.device.type, enabled=False):
        queries, positives = unit_rows(anchors), unit_rows(keys.positives)
        columns = own_columns(queries, keys.first_positive)
        own = (queries * positives[columns]).sum(dim=1) / temperature
        negatives = _log_sum_exp(queries, positives, width, temperature, columns, -math.inf, keys.false_negatives)
        if keys.hard_negatives is not None:
            hard, log_weight = unit_rows(keys.hard_negatives.vectors), keys.hard_negatives.log_weight
            negatives = torch.logaddexp(
                negatives, _log_sum_exp(queries, hard, width, temperature, columns, log_weight)
            )
        if keys.further_negatives is not None:
            further = unit_rows(keys.further_negatives)
            negatives = torch.logaddexp(negatives, _log_sum_exp(queries, further, width, temperature, None, 0.0))
        count = noise.count_for(len(positives))
        return LogSumExps(own, negatives, _noise_term(queries, noise, count, width, temperature, step))


@torch.no_grad()
def streamed_hardest(
    anchors: Tensor, keys: Keys, *, temperature: float = 0.05, block_elements: int = BLOCK_ELEMENTS
) -> Tensor:
    """Return the largest logit of another anchor's positive, ``(N,)``, minus infinity where there is none.

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        keys: Vectors that the anchors are scored against.
        temperature: ``τ > 0``.
        block_elements: Maximum logits in memory at a time.
    """
    width = max(1, block_elements // max(1, len(anchors)))
    with torch.autocast(anchors.device.type, enabled=False):
        queries, positives = unit_rows(anchors), unit_rows(keys.positives)
        hardest = queries.new_full((len(queries),), -math.inf)
        columns = own_columns(queries, keys.first_positive)
        biases = _Biases(1 / temperature, columns, -math.inf, keys.false_negatives)
        for _, logits in _logit_blocks(queries, lambda: iter(positives.split(width)), biases):
            hardest = torch.maximum(hardest, logits.amax(dim=1))
        return hardest


def _noise_term(queries: Tensor, noise: Noise, count: int, width: int, temperature: float, step: int) -> Tensor | None:
    """Return the log-sum-exp of the noise, including its weight."""
    if not count:
        return None
    dim = queries.shape[1]
    if noise.mode == "expected":
        one = queries.new_full((len(queries),), log_expected_similarity(dim, temperature))
        return one + math.log(noise.weight * count)

    def blocks() -> Iterator[Tensor]:
        for drawn in noise.source.draw_blocks(step, count, dim, device=queries.device):
            yield from unit_rows(drawn.to(queries.dtype)).split(width)

    term: Tensor = _StreamedLogSumExp.apply(queries, None, blocks, _Biases(1 / temperature))  # type: ignore[no-untyped-call]
    return term + math.log(noise.weight)


class _Biases(NamedTuple):
    """What makes logits of cosines.

    Attributes:
        scale: ``1 / τ``.
        columns: Column of each query's own key, or None.
        own: Value added to the logit of the own key.
        false_negatives: Judgement on which keys are left out, or None.
    """

    scale: float
    columns: Tensor | None = None
    own: float = 0.0
    false_negatives: FalseNegatives | None = None


def _log_sum_exp(
    queries: Tensor,
    keys: Tensor,
    width: int,
    temperature: float,
    columns: Tensor | None,
    own_bias: float,
    false_negatives: FalseNegatives | None = None,
) -> Tensor:
    """Sum over the rows of ``keys``, with ``own_bias`` added to the logit of each query's own one."""

    def blocks() -> Iterator[Tensor]:
        return iter(keys.detach().split(width))

    learned = keys if keys.requires_grad else None
    biases = _Biases(1 / temperature, columns, own_bias, false_negatives)
    summed: Tensor = _StreamedLogSumExp.apply(queries, learned, blocks, biases)  # type: ignore[no-untyped-call]
    return summed


class _StreamedLogSumExp(torch.autograd.Function):
    """``log sum_j exp(q_i . k_j / τ)`` over blocks of keys, which get a gradient where they are given as a tensor."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor | None, blocks: KeyBlocks, biases: _Biases) -> Tensor:
        total = queries.new_full((len(queries),), -math.inf)
        for _, logits in _logit_blocks(queries, blocks, biases):
            total = torch.logaddexp(total, logits.logsumexp(dim=1))
        ctx.save_for_backward(queries, keys, total)
        ctx.blocks, ctx.biases = blocks, biases
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, total = ctx.saved_tensors
        total = total.masked_fill(total == -math.inf, 0.0)  # an empty sum has no gradient instead of NaN
        of_queries = torch.zeros_like(queries)
        of_keys = []
        for block, logits in _logit_blocks(queries, ctx.blocks, ctx.biases):
            weights = logits.sub_(total.unsqueeze(1)).exp_().mul_((gradients[0] * ctx.biases.scale).unsqueeze(1))
            of_queries.addmm_(weights, block)
            if keys is not None:
                of_keys.append(weights.T @ queries)
        return of_queries, torch.cat(of_keys) if of_keys else None, None, None


def _logit_blocks(queries: Tensor, blocks: KeyBlocks, biases: _Biases) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each block of keys with its ``(N, c)`` logits, which the caller may overwrite."""
    start = 0
    for block in blocks():
        logits = (queries @ block.T).mul_(biases.scale)
        if biases.columns is not None:
            own = biases.columns
            rows = ((own >= start) & (own < start + len(block))).nonzero().squeeze(1)
            logits[rows, own[rows] - start] += biases.own
        if biases.false_negatives is not None:
            logits.masked_fill_(biases.false_negatives.among(start, start + len(block)), -math.inf)
        yield block, logits
        start += len(block)
