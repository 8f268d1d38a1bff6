"""Moving sentences between templates, as token ids.

A template surrounds a sentence with two runs of tokens, ``before`` and ``after``, including special tokens. Rows are
padded on the right. A batch is tokenised once, in one template, and its other views are derived from these ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Templates(nn.Module):
    """Templates of one tokenizer, as tables.

    Args:
        prompts: ``before`` and ``after`` of each of the K templates.

    Attributes:
        before: Tokens before the sentence, long ``(K, P)``, padded with 0.
        after: Tokens after the sentence, long ``(K, S)``, padded with 0.
        sizes: Lengths of both, long ``(K, 2)``.
    """

    before: Tensor
    after: Tensor
    sizes: Tensor

    def __init__(self, prompts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> None:
        super().__init__()
        befores, afters = zip(*prompts, strict=True)
        tables = {"before": _table(befores), "after": _table(afters)}
        tables["sizes"] = torch.tensor([[len(before), len(after)] for before, after in prompts])
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)
        self._longest = max(len(before) + len(after) for before, after in prompts)

    def __len__(self) -> int:
        """Return ``K``."""
        return len(self.sizes)

    @property
    def longest(self) -> int:
        """Tokens of the longest template."""
        return self._longest


def move_sentences(
    ids: Tensor, mask: Tensor, source: tuple[int, int], targets: Templates, chosen: Tensor, *, pad: int, longest: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Move the sentence of each row from its template into another.

    Args:
        ids: Token ids, long ``(N, L)``, padded on the right.
        mask: Attention mask, long ``(N, L)``.
        source: Lengths of the template before and after the sentence, the same in all rows.
        targets: K templates, on the same device.
        chosen: Number of the template for each row, long ``(N,)``.
        pad: Id of the padding.
        longest: Maximum tokens of a row. A sentence that is too long for its new template is truncated at its end.

    Returns:
        Ids, attention mask and the mask of the template's own tokens, each long ``(N, L')``, with ``L'`` at most
        ``longest``.
    """
    before, after = targets.sizes[chosen].unbind(dim=1)
    words = torch.minimum(mask.sum(dim=1) - sum(source), longest - before - after)
    ends = torch.stack([before, before + words, before + words + after], dim=1)

    width = min(longest, ids.shape[1] - sum(source) + targets.longest)
    places = torch.arange(width, device=ids.device).expand(len(ids), width)
    begin, middle, end = (edge.unsqueeze(1) for edge in ends.unbind(dim=1))
    moved = torch.full_like(places, pad)
    for table, start, inside in (
        (targets.before[chosen], torch.zeros_like(begin), places < begin),
        (ids[:, source[0] :], begin, (places >= begin) & (places < middle)),
        (targets.after[chosen], middle, (places >= middle) & (places < end)),
    ):
        moved = torch.where(inside, table.gather(1, (places - start).clamp(0, table.shape[1] - 1)), moved)
    present = places < end
    of_template = present & ((places < begin) | (places >= middle))
    return moved, present.to(mask.dtype), of_template.to(mask.dtype)


def template_places(of_template: Tensor, size: int) -> Tensor:
    """Return the positions of each row's template, so that the sentence can be left out.

    For an encoder with absolute positions, the template's tokens alone with their original positions give the same
    result as the whole row with the sentence masked, but are shorter.

    Args:
        of_template: Mask of the template's tokens, long ``(N, L)``.
        size: Tokens of the longest template.

    Returns:
        Positions counted from 0, in ascending order, long ``(N, min(size, L))``. A shorter template's positions are
        followed by those of the first other tokens.
    """
    return (1 - of_template).argsort(dim=1, stable=True)[:, :size]


def _table(rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
