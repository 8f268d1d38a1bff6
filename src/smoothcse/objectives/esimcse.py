r"""ESimCSE (Wu et al., COLING 2022): positives of different length, and negatives from a momentum encoder.

.. math::

    L = -\frac1N \sum_i \log \frac{e^{s(z1_i, z2_i)}}
        {\sum_j e^{s(z1_i, z2_j)} + \sum_{q \in Q} e^{s(z1_i, q)}}, \qquad
    θ_m \leftarrow m\, θ_m + (1 - m)\, θ

``z2`` embeds the sentence with some sub-words repeated, so that length does not identify positives. ``Q`` is a queue
of earlier sentences, embedded by the momentum encoder ``θ_m``. The loss is :func:`~smoothcse.objectives.gs_info_nce`
with ``Q`` as further negatives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smoothcse.objectives.draws import row_keys, uniforms

MOST_REPEATED = 10
"""Exclusive upper bound of the repeated sub-words of a sentence, as in the released code."""


def repeat_subwords(
    ids: Tensor, mask: Tensor, words: Tensor, *, rate: float, seed: int, step: int, longest: int
) -> tuple[Tensor, Tensor]:
    r"""Repeat ``k`` sub-words of each row, with new draws at each step.

    .. math:: k \sim U\{0, \dots, \min(10, \lfloor rate \cdot n \rfloor) - 1\}

    with ``n`` the number of sub-words of the row; ``k = 0`` if the set is empty. The draw depends only on the seed,
    the step and the row's own tokens, so it is the same in any batch, on any rank and after a resume.

    Args:
        ids: Token ids, long ``(N, L)``.
        mask: Attention mask, long ``(N, L)``.
        words: Tokens that may be repeated, bool ``(N, L)``; False for special tokens.
        rate: Share of a row's sub-words, in [0, 1].
        seed: Seed of the draws.
        step: Optimiser step.
        longest: Maximum tokens of a row afterwards, including special tokens.

    Returns:
        Ids and mask, ``(N, L + 9)`` at most, padded on the right with id 0 and mask 0.
    """
    allowed = (words.sum(dim=1) * rate).long().clamp(max=MOST_REPEATED)
    keys = row_keys(ids, mask, seed, step)
    count = (uniforms(keys.unsqueeze(1), 0).squeeze(1) * allowed).long()
    count = torch.minimum(count, (longest - mask.sum(dim=1)).clamp(min=0))
    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    scores = uniforms(keys.unsqueeze(1), places).masked_fill(~words, 2.0)
    rank = scores.argsort(dim=1, stable=True).argsort(dim=1)
    times = mask + (words & (rank < count.unsqueeze(1)))

    ends = times.cumsum(dim=1)
    width = min(longest, ids.shape[1] + MOST_REPEATED - 1)
    target = torch.where(times > 0, ends - times, width)  # padding goes into a column that is removed
    twin = torch.where(times > 1, ends - 1, width)
    repeated = ids.new_zeros(len(ids), width + 1).scatter(1, target, ids).scatter(1, twin, ids)
    present = torch.arange(width, device=ids.device) < ends[:, -1:]
    return repeated[:, :width], present.to(mask.dtype)
