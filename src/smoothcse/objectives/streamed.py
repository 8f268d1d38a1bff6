r"""GS-InfoNCE without its matrix of logits, for batches of which that matrix does not fit into memory.

All that the loss needs of row ``i`` are three numbers: its own logit and the log-sum-exps of its negatives and of its
noise,

.. math:: L = \frac1N \sum_i \log\Bigl(1 + e^{n_i - s_i^+} + λ\, e^{g_i - s_i^+}\Bigr), \qquad
          n_i = \log \sum_{j \ne i} e^{s(z1_i, z2_j)}, \quad g_i = \log \sum_k e^{s(z1_i, g_k)}

Both sums run over blocks of keys whose logits are formed, added up and thrown away; the backward pass forms them
again, as attention kernels do. Noise is drawn block by block, once per pass, and never stored. Memory is that of the
embeddings and of one block.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from smoothcse.objectives.noise import GaussianNoise, log_expected_similarity

BLOCK_ELEMENTS = 2**24
"""Logits held at a time: 64 MB of float32."""

KeyBlocks = Callable[[], Iterator[Tensor]]
"""Gives the keys as unit rows, block after block, the same on every call."""


class Masses(NamedTuple):
    """What the loss needs of each anchor; all logarithms, ``(N,)``.

    Attributes:
        own: logit of its own positive.
        negatives: of the sum over the other sentences and the hard negatives.
        noise: of the sum over the noise, without its weight; None without noise.
    """

    own: Tensor
    negatives: Tensor
    noise: Tensor | None

    def balanced(self, share: float) -> Masses:
        """Return masses whose noise is weighed anew, as :func:`~smoothcse.objectives.balance_noise` does."""
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


def streamed_masses(
    anchors: Tensor,
    positives: Tensor,
    *,
    noise: GaussianNoise | None = None,
    noise_step: int = 0,
    noise_count: int = 0,
    noise_weight: float = 1.0,
    hard_negatives: Tensor | None = None,
    hard_negative_log_weight: float = 0.0,
    further_negatives: Tensor | None = None,
    temperature: float = 0.05,
    first_positive: int = 0,
    block_elements: int = BLOCK_ELEMENTS,
) -> Masses:
    """Return what the loss of a batch needs, in memory that does not grow with ``N (N + M)``.

    The result and its gradients equal those of :func:`~smoothcse.objectives.gs_info_nce`, whose other arguments these
    are, up to the order of summation. It can be differentiated once.

    Args:
        anchors: ``z1``, float ``(N, d)``; need not be normalised.
        positives: ``z2``, float ``(K, d)``.
        noise: where the noise comes from; None for its closed-form expectation.
        noise_step: of the optimiser.
        noise_count: ``M``; 0 for no noise.
        noise_weight: ``λ > 0``.
        hard_negatives: ``z3``, float ``(H, d)``, or None.
        hard_negative_log_weight: added to the logit of each anchor's own hard negative.
        further_negatives: ``z4``, float ``(F, d)``, which belong to no anchor, or None.
        temperature: ``τ > 0``.
        first_positive: where this rank's positives start.
        block_elements: logits held at a time.
    """
    width = max(1, block_elements // max(1, len(anchors)))
    with torch.autocast(anchors.device.type, enabled=False):
        queries, keys = _unit_rows(anchors), _unit_rows(positives)
        own_columns = torch.arange(len(queries), device=queries.device) + first_positive
        own = (queries * keys[own_columns]).sum(dim=1) / temperature
        negatives = _log_sum_exp(queries, keys, width, temperature, own_columns, -math.inf)
        if hard_negatives is not None:
            hard = _unit_rows(hard_negatives)
            hard_mass = _log_sum_exp(queries, hard, width, temperature, own_columns, hard_negative_log_weight)
            negatives = torch.logaddexp(negatives, hard_mass)
        if further_negatives is not None:
            further = _unit_rows(further_negatives)
            negatives = torch.logaddexp(negatives, _log_sum_exp(queries, further, width, temperature, None, 0.0))
        if not noise_count:
            return Masses(own, negatives, None)
        if noise is None:
            mass = own.new_full((len(own),), log_expected_similarity(queries.shape[1], temperature))
            return Masses(own, negatives, mass + math.log(noise_weight * noise_count))

        def noise_blocks() -> Iterator[Tensor]:
            for drawn in noise.draw_blocks(noise_step, noise_count, queries.shape[1], device=queries.device):
                yield from functional.normalize(drawn.to(queries.dtype), dim=1).split(width)

        log_noise: Tensor = _StreamedLogSumExp.apply(queries, None, noise_blocks, 1 / temperature, None, 0.0)  # type: ignore[no-untyped-call]
        return Masses(own, negatives, log_noise + math.log(noise_weight))


def _log_sum_exp(
    queries: Tensor, keys: Tensor, width: int, temperature: float, own_columns: Tensor | None, own_bias: float
) -> Tensor:
    """Sum over the rows of ``keys``, with ``own_bias`` added to the logit of each query's own one."""

    def blocks() -> Iterator[Tensor]:
        return iter(keys.detach().split(width))

    summed: Tensor = _StreamedLogSumExp.apply(queries, keys, blocks, 1 / temperature, own_columns, own_bias)  # type: ignore[no-untyped-call]
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
        own_columns: Tensor | None,
        own_bias: float,
    ) -> Tensor:
        total = queries.new_full((len(queries),), -math.inf)
        for _, logits in _logit_blocks(queries, blocks, scale, own_columns, own_bias):
            total = torch.logaddexp(total, logits.logsumexp(dim=1))
        ctx.save_for_backward(queries, keys, own_columns, total)
        ctx.blocks, ctx.scale, ctx.own_bias = blocks, scale, own_bias
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, own_columns, total = ctx.saved_tensors
        total = total.masked_fill(total == -math.inf, 0.0)  # a sum over nothing has no gradient, rather than nan
        of_queries = torch.zeros_like(queries)
        of_keys = []
        for block, logits in _logit_blocks(queries, ctx.blocks, ctx.scale, own_columns, ctx.own_bias):
            weights = logits.sub_(total.unsqueeze(1)).exp_().mul_((gradients[0] * ctx.scale).unsqueeze(1))
            of_queries.addmm_(weights, block)
            if keys is not None:
                of_keys.append(weights.T @ queries)
        return of_queries, torch.cat(of_keys) if of_keys else None, None, None, None, None


def _logit_blocks(
    queries: Tensor, blocks: KeyBlocks, scale: float, own_columns: Tensor | None, own_bias: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each block of keys with its ``(N, c)`` logits, which the caller may overwrite."""
    start = 0
    for block in blocks():
        logits = (queries @ block.T).mul_(scale)
        if own_columns is not None:
            rows = ((own_columns >= start) & (own_columns < start + len(block))).nonzero().squeeze(1)
            logits[rows, own_columns[rows] - start] += own_bias
        yield block, logits
        start += len(block)


def _unit_rows(tensor: Tensor) -> Tensor:
    return functional.normalize(tensor if tensor.dtype == torch.float64 else tensor.float(), dim=1)
