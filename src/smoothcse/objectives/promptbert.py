r"""PromptBERT (Jiang et al., EMNLP 2022): two templates as two views, without the template bias.

.. math::

    z = \tanh\bigl(W (h - δ) + b\bigr), \qquad
    L = -\frac1N \sum_i \log \frac{e^{s(z1_i, z2_i)}}{\sum_j e^{s(z1_i, z2_j)}}

``h`` is the state of the [MASK] token of a template with the sentence. ``δ`` is the state for the same template
without the sentence, with the positions that its tokens have around the sentence, so that there is one ``δ`` per
length. Both passes have a gradient. The loss is :func:`~smoothcse.objectives.info_nce`; ``W`` and ``b`` are SimCSE's
head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def one_of_each(of_template: Tensor) -> tuple[Tensor, Tensor]:
    """Group rows by the positions of their template tokens, which depend on the lengths of their sentences.

    Args:
        of_template: Mask of the template's tokens, long ``(N, L)``.

    Returns:
        The first row of each group, long ``(U,)``, and the group of each row, long ``(N,)``.
    """
    found, kinds = torch.unique(of_template, dim=0, return_inverse=True)
    rows = torch.arange(len(kinds), device=kinds.device)
    return rows.new_full((len(found),), len(kinds)).scatter_reduce(0, kinds, rows, "amin"), kinds
