r"""ConPVP (Zeng et al., Findings of EMNLP 2022): virtual prototypes, made from a sentence by templates.

.. math::

    r = h - h_T, \qquad z, p, n = \tanh(W r + b), \qquad
    L = -\frac1N \sum_i \log \frac{e^{s(z_i, p_i)}}{\sum_j e^{s(z_i, p_j)} + \sum_j e^{s(z_i, n_j)}}

``h`` is the state of the [MASK] token, ``h_T`` the one with only the template's own tokens attended to. ``z`` uses a
template of learned tokens, ``p`` one of several templates that affirm the sentence and ``n`` one that negates it. An
anchor has ``2N - 1`` negatives: the prototypes ``n`` of all sentences, its own included, and the ``p`` of the others.
The loss is :func:`~smoothcse.objectives.info_nce` with ``n`` as its hard negatives.
"""

from __future__ import annotations

from torch import Tensor

from smoothcse.objectives.draws import row_keys, uniforms


def draw_templates(ids: Tensor, mask: Tensor, counts: tuple[int, ...], *, seed: int, step: int) -> tuple[Tensor, ...]:
    """Draw a template of each kind for each row, with new draws at each step.

    Args:
        ids: Token ids, long ``(N, L)``.
        mask: Attention mask, long ``(N, L)``.
        counts: Number of templates of each kind.
        seed: Seed of the draws.
        step: Optimiser step.

    Returns:
        A long ``(N,)`` for each kind, a function of the row's own tokens, the seed and the step.
    """
    keys = row_keys(ids, mask, seed, step)
    return tuple((uniforms(keys, kind) * count).long() for kind, count in enumerate(counts))
