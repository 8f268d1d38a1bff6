r"""Masked language modelling, an optional second loss of SimCSE (Gao et al., EMNLP 2021, appendix).

.. math::

    L = L_{cl} + w\, L_{mlm}, \qquad
    L_{mlm} = -\frac{1}{|M|} \sum_{(i, t) \in M} \log p(x_{it} \mid \tilde{x}_i)

``x̃`` is a copy of the sentences in which the tokens of ``M`` are masked as in BERT (Devlin et al., NAACL 2019); the
views of the contrastive loss are not masked. The published weight ``w`` is 0.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smoothcse.objectives.draws import row_keys, uniforms

IGNORE_INDEX = -100
"""Target of a token that is not predicted; torch's cross entropy ignores it by default."""

_MASKED, _REPLACED = 0.8, 0.9  # masked tokens: 80% become [MASK], 10% another word, 10% are unchanged


def mask_tokens(
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
    """Return a copy of the token ids with some tokens masked, and the targets to predict.

    The draw depends only on the seed, the step and the row's own tokens, so it is the same in any batch, on any rank
    and after a resume.

    Args:
        ids: Token ids, long ``(N, L)``; not modified.
        mask: Attention mask, long ``(N, L)``.
        words: Tokens that may be masked, bool ``(N, L)``; False for special tokens.
        probability: Probability of a token to be masked.
        mask_id: Id of the mask token.
        vocabulary: Ids of the words that may replace a token, long ``(V,)``.
        seed: Seed of the draws.
        step: Optimiser step.

    Returns:
        Ids and targets, long ``(N, L)`` each; the target of a token that is not masked is :data:`IGNORE_INDEX`.
    """
    keys = row_keys(ids, mask, seed, step).unsqueeze(1)
    places = 3 * torch.arange(ids.shape[1], device=ids.device)
    masked = words & (uniforms(keys, places) < probability)
    kind = uniforms(keys, places + 1)
    others = vocabulary[(uniforms(keys, places + 2) * len(vocabulary)).long()]
    instead = torch.where(kind < _MASKED, mask_id, torch.where(kind < _REPLACED, others, ids))
    return torch.where(masked, instead, ids), torch.where(masked, ids, IGNORE_INDEX)
