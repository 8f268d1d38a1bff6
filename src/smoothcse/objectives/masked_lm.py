r"""Masked language modelling, which SimCSE may learn beside its contrast (Gao et al., EMNLP 2021, appendix).

.. math::

    L = L_{cl} + w\, L_{mlm}, \qquad
    L_{mlm} = -\frac{1}{|M|} \sum_{(i, t) \in M} \log p(x_{it} \mid \tilde{x}_i)

``x̃`` is a copy of the sentences in which the tokens of ``M`` are hidden as BERT hides them (Devlin et al., NAACL
2019); the views that are contrasted stay whole. The published weight ``w`` is 0.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smoothcse.objectives.draws import row_keys, uniforms

NOT_HIDDEN = -100
"""Target of a token that is not to be told; it is what torch's cross entropy leaves out."""

_MASKED, _REPLACED = 0.8, 0.9  # of the hidden tokens: 80% become the mask, 10% another word, 10% stay


def hide_tokens(
    ids: Tensor,
    mask: Tensor,
    words: Tensor,
    *,
    probability: float,
    mask_id: int,
    vocabulary: Tensor,
    seed: int,
    step: int,
) -> tuple[Tensor, Tensor]:
    """Return a copy in which some tokens are hidden, and what they were.

    The draw is a function of seed, step and the row's own tokens, so that it is the same in any batch, on any rank and
    after a resume.

    Args:
        ids: token ids, long ``(N, L)``; they are not changed.
        mask: attention mask, long ``(N, L)``.
        words: which tokens may be hidden, bool ``(N, L)``; special tokens may not.
        probability: of a token to be hidden.
        mask_id: of the mask token.
        vocabulary: ids that a word may be replaced with, long ``(V,)``.
        seed: of the draws.
        step: of the optimiser.

    Returns:
        Ids and targets, long ``(N, L)`` each; the target of a token that is not hidden is :data:`NOT_HIDDEN`.
    """
    keys = row_keys(ids, mask, seed, step).unsqueeze(1)
    places = 3 * torch.arange(ids.shape[1], device=ids.device)
    hidden = words & (uniforms(keys, places) < probability)
    kind = uniforms(keys, places + 1)
    others = vocabulary[(uniforms(keys, places + 2) * len(vocabulary)).long()]
    instead = torch.where(kind < _MASKED, mask_id, torch.where(kind < _REPLACED, others, ids))
    return torch.where(hidden, instead, ids), torch.where(hidden, ids, NOT_HIDDEN)
