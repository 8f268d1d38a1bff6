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
from torch.nn import functional

from smoothcse.objectives.contrastive import Contrast
from smoothcse.objectives.keys import Keys, own_columns
from smoothcse.objectives.noise import NO_NOISE, Noise, log_expected_similarity
from smoothcse.objectives.rows import unit_rows

BLOCK_ELEMENTS = 2**24
"""Maximum logits in memory at a time: 64 MB of float32."""

KeyBlocks = Callable[[], Iterator[Tensor]]
"""A function that yields the keys as unit rows, block by block, the same on every call."""


class LogSumExps(NamedTuple):
    """Terms of the loss of each anchor, all logarithms, ``(N,)``.

    Attributes:
        own: Logit of its own positive.
        negatives: Log-sum-exp over the other sentences and the hard negatives.
        noise: Log-sum-exp over the noise, including its weight; None without noise.
    """

    own: Tensor
    negatives: Tensor
    noise: Tensor | None

    def balanced(self, share: float) -> LogSumExps:
        """Return the terms with the noise weighted as :func:`~smoothcse.objectives.balance_noise` does."""
        assert self.noise is not None
        log_weight = math.log(share / (1 - share)) + (self.negatives - self.noise).detach()
        return self._replace(noise=self.noise + log_weight)

    def loss(self) -> Tensor:
        """Return the scalar loss."""
        everything = self.negatives if self.noise is None else torch.logaddexp(self.negatives, self.noise)
        return functional.softplus(everything - self.own).mean()

    def noise_share(self) -> Tensor:
        """Return the noise share, as :func:`~smoothcse.objectives.noise_share` does."""
        if self.noise is None:
            return self.own.new_zeros(())
        return torch.sigmoid(self.noise - self.negatives).mean().detach()


def streamed_contrast(
    anchors: Tensor,
    keys: Keys,
    noise: Noise = NO_NOISE,
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
        temperature: ``τ > 0``.
        step: Optimiser step that the noise is drawn for.
        own: Logits ``(N,)`` that replace those of the anchors with their own positives, or None.
    """
    terms = streamed_log_sum_exps(anchors, keys, noise, temperature=temperature, step=step)
    if own is not None:
        terms = terms._replace(own=own)
    if noise.share is not None and terms.noise is not None:
        terms = terms.balanced(noise.share)
    return Contrast(terms.loss(), terms.noise_share())


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
        negatives = _log_sum_exp(queries, positives, width, temperature, columns, -math.inf)
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

    term: Tensor = _StreamedLogSumExp.apply(queries, None, blocks, 1 / temperature, None, 0.0)  # type: ignore[no-untyped-call]
    return term + math.log(noise.weight)


def _log_sum_exp(
    queries: Tensor, keys: Tensor, width: int, temperature: float, columns: Tensor | None, own_bias: float
) -> Tensor:
    """Sum over the rows of ``keys``, with ``own_bias`` added to the logit of each query's own one."""

    def blocks() -> Iterator[Tensor]:
        return iter(keys.detach().split(width))

    summed: Tensor = _StreamedLogSumExp.apply(queries, keys, blocks, 1 / temperature, columns, own_bias)  # type: ignore[no-untyped-call]
    return summed


class _StreamedLogSumExp(torch.autograd.Function):
    """``log sum_j exp(q_i . k_j / τ)`` over blocks of keys, which get a gradient where they are given as a tensor."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor | None,
        blocks: KeyBlocks,
        scale: float,
        columns: Tensor | None,
        own_bias: float,
    ) -> Tensor:
        total = queries.new_full((len(queries),), -math.inf)
        for _, logits in _logit_blocks(queries, blocks, scale, columns, own_bias):
            total = torch.logaddexp(total, logits.logsumexp(dim=1))
        ctx.save_for_backward(queries, keys, columns, total)
        ctx.blocks, ctx.scale, ctx.own_bias = blocks, scale, own_bias
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, columns, total = ctx.saved_tensors
        total = total.masked_fill(total == -math.inf, 0.0)  # an empty sum has no gradient instead of NaN
        of_queries = torch.zeros_like(queries)
        of_keys = []
        for block, logits in _logit_blocks(queries, ctx.blocks, ctx.scale, columns, ctx.own_bias):
            weights = logits.sub_(total.unsqueeze(1)).exp_().mul_((gradients[0] * ctx.scale).unsqueeze(1))
            of_queries.addmm_(weights, block)
            if keys is not None:
                of_keys.append(weights.T @ queries)
        return of_queries, torch.cat(of_keys) if of_keys else None, None, None, None, None


def _logit_blocks(
    queries: Tensor, blocks: KeyBlocks, scale: float, columns: Tensor | None, own_bias: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each block of keys with its ``(N, c)`` logits, which the caller may overwrite."""
    start = 0
    for block in blocks():
        logits = (queries @ block.T).mul_(scale)
        if columns is not None:
            rows = ((columns >= start) & (columns < start + len(block))).nonzero().squeeze(1)
            logits[rows, columns[rows] - start] += own_bias
        yield block, logits
        start += len(block)
