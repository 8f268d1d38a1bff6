"""Sentences moved between templates, against lists."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from smoothcse.objectives.promptbert import one_of_each
from smoothcse.objectives.templates import Templates, move_sentences, template_places

PAD = 9

prompts = st.tuples(
    st.lists(st.integers(100, 199), min_size=1, max_size=4), st.lists(st.integers(200, 299), min_size=1, max_size=4)
)


def padded(rows: list[list[int]], pad: int, width: int) -> torch.Tensor:
    return torch.tensor([row + [pad] * (width - len(row)) for row in rows])


@settings(deadline=None, max_examples=100)
@given(
    source=prompts,
    targets=st.lists(prompts, min_size=1, max_size=3),
    texts=st.lists(st.lists(st.integers(300, 999), max_size=6), min_size=1, max_size=5),
    longest=st.integers(8, 16),
    seed=st.integers(0, 99),
)
def test_a_sentence_moves_whole_or_is_cut_at_its_end(source, targets, texts, longest, seed):
    before, after = source
    rows = [[*before, *text, *after] for text in texts]
    width = max(map(len, rows))
    ids = padded(rows, PAD, width)
    mask = padded([[1] * len(row) for row in rows], 0, width)
    chosen = torch.randint(len(targets), (len(texts),), generator=torch.Generator().manual_seed(seed))
    templates = Templates(targets)
    moved, present, of_template = move_sentences(
        ids, mask, (len(before), len(after)), templates, chosen, pad=PAD, longest=longest
    )
    assert moved.shape == present.shape == of_template.shape
    assert moved.shape[1] == min(longest, width - len(before) - len(after) + templates.longest)
    assert present.dtype == of_template.dtype == mask.dtype
    for row, (text, number) in enumerate(zip(texts, chosen.tolist(), strict=True)):
        left, right = targets[number]
        kept = text[: longest - len(left) - len(right)]
        wanted = [*left, *kept, *right]
        rest = moved.shape[1] - len(wanted)
        assert moved[row].tolist() == wanted + [PAD] * rest
        assert present[row].tolist() == [1] * len(wanted) + [0] * rest
        assert of_template[row].tolist() == [1] * len(left) + [0] * len(kept) + [1] * len(right) + [0] * rest

    places = template_places(of_template, templates.longest)
    assert places.shape == (len(texts), min(templates.longest, moved.shape[1]))
    for row, number in enumerate(chosen.tolist()):
        own = of_template[row].nonzero().flatten().tolist()
        others = [place for place in range(moved.shape[1]) if place not in own]
        assert places[row].tolist() == (own + others)[: places.shape[1]]
        assert len(own) == sum(map(len, targets[number]))


def test_templates_are_tables_that_move_with_their_module_and_are_not_saved():
    templates = Templates([([1, 2, 3], [4]), ([5], [6, 7])])
    assert templates.before.tolist() == [[1, 2, 3], [5, 0, 0]]
    assert templates.after.tolist() == [[4, 0], [6, 7]]
    assert templates.sizes.tolist() == [[3, 1], [1, 2]]
    assert (len(templates), templates.longest) == (2, 4)
    assert not templates.state_dict()
    assert {name for name, _ in templates.named_buffers()} == {"before", "after", "sizes"}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([(1, 0, 1), (1, 1, 0), (0, 1, 1), (1, 1, 1)]), min_size=1, max_size=8))
def test_the_first_row_of_each_kind_is_found(rows):
    firsts, kinds = one_of_each(torch.tensor(rows))
    assert len(firsts) == len(set(rows))
    assert [rows[firsts[kind]] for kind in kinds] == rows
    assert sorted(firsts.tolist()) == sorted({row: rows.index(row) for row in rows}.values())
