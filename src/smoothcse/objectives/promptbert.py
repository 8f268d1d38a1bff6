r"""PromptBERT (Jiang et al., EMNLP 2022): two templates as two views, without what the templates alone say.

.. math::

    z = \tanh\bigl(W (h - δ) + b\bigr), \qquad
    L = -\frac1N \sum_i \log \frac{e^{s(z1_i, z2_i)}}{\sum_j e^{s(z1_i, z2_j)}}

``h`` is the state of the [MASK] token of a template that holds the sentence. ``δ`` is that of the same template
without it, its tail keeping the positions it has behind the sentence, so that there is one ``δ`` for each length. Both
passes have a gradient. The loss is :func:`~smoothcse.objectives.info_nce`; ``W`` and ``b`` are SimCSE's head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def one_of_each(of_template: Tensor) -> tuple[Tensor, Tensor]:
    """Tell rows apart by the places that their template takes, which are those of its sentences' lengths.

    Args:
        of_template: Mask of the template's tokens, long ``(N, L)``.

    Returns:
        The first row of each kind, long ``(U,)``, and the kind of each row, long ``(N,)``.
    """
    found, kinds = torch.unique(of_template, dim=0, return_inverse=True)
    rows = torch.arange(len(kinds), device=kinds.device)
    return rows.new_full((len(found),), len(kinds)).scatter_reduce(0, kinds, rows, "amin"), kinds
