"""How views are read and cut into pieces, told by encoders of a few lines; and what methods keep between steps."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import nn
from torch.nn import functional

from smoothcse.encoders import projection as head
from smoothcse.encoders.build import build_encoder
from smoothcse.encoders.projection import PROJECTION, head_of, unwrapped
from smoothcse.fastpath import accelerate
from smoothcse.fastpath.batch import Batch, FastPath, attach, fast_path_of
from smoothcse.fastpath.words import WORDS
from smoothcse.methods import ranks
from smoothcse.methods.ranks import of_all_ranks
from smoothcse.methods.state import MomentumEncoder, VectorQueue
from smoothcse.views import embed as views
from smoothcse.views.embed import (
    READ,
    dropout_views,
    embed,
    embed_views,
    in_pieces,
    read_without_dropout,
    repeat_rows,
    run,
    take_rows,
)
from tiny import sentences


class Spy(nn.Module):
    """An encoder that keeps what it is asked, and returns each row's sum of ids, and of the padding beside it."""

    def __init__(self, *, head: bool = False) -> None:
        super().__init__()
        self.asked, self.batches, self.head = [], [], head

    def forward(self, features):
        self.asked.append(features)
        state = fast_path_of(self)
        self.batches.append(state and state.batch)
        found = {"sentence_embedding": (features["input_ids"] * features["attention_mask"]).sum(1, keepdim=True)}
        return found | {PROJECTION: -found["sentence_embedding"]} if self.head else found


def column(lengths, width=None):
    width = width or max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths).unsqueeze(1)).long()
    ids = torch.arange(1, 1 + mask.numel()).reshape(mask.shape) * mask
    return {"input_ids": ids, "attention_mask": mask, "name": "kept", "scalar": torch.tensor(3)}


def sums(features):
    return features["input_ids"].sum(dim=1, keepdim=True)


def test_an_embedding_is_the_heads_where_there_is_one_and_what_the_reader_says_where_it_is_given():
    features = column([2, 3])
    assert torch.equal(embed(Spy(), features), sums(features))
    assert torch.equal(embed(Spy(head=True), features), -sums(features))
    read = embed(Spy(), {**features, READ: lambda model, given: given["input_ids"]})
    assert torch.equal(read, features["input_ids"])
    assert set(features) == {"input_ids", "attention_mask", "name", "scalar"}  # left as it was


def test_the_batch_that_is_running_is_known_inside_and_nowhere_else():
    spy, features = Spy(), column([2, 3])
    embed(spy, features)
    assert spy.batches == [None]  # not accelerated
    with accelerate(spy):
        state = fast_path_of(spy)
        run(spy, {**features, WORDS: torch.ones(2, 3, 4)}, every_token=True)
        assert WORDS not in spy.asked[-1]
        assert torch.equal(spy.batches[-1].ids, features["input_ids"])
        assert spy.batches[-1].words.shape == (2, 3, 4)
        assert spy.batches[-1].every_token
        assert state.batch is None
        embed(spy, features)
        assert spy.batches[-1] == Batch(features["input_ids"])
        with pytest.raises(KeyError):
            embed(spy, {"input_ids": features["input_ids"]})
        assert state.batch is None
    assert fast_path_of(spy) is None


def test_a_batch_within_another_is_followed_by_the_outer_one():
    class Nested(nn.Module):
        def forward(self, features):
            inner = features.pop("inner", None)
            if inner is not None:
                run(self, inner)
            return fast_path_of(self).batch

    nested, ids = Nested(), torch.ones(1, 2)
    attach(nested, FastPath())
    assert run(nested, {"input_ids": ids, "inner": {"input_ids": ids + 1}}, every_token=True) == Batch(ids, None, True)
    assert run(nested, {"inner": {"input_ids": ids}}) is None


def test_a_view_without_dropout_leaves_every_module_in_the_mode_it_had():
    modes = []
    model = nn.Sequential(Spy(), nn.Identity()).train()
    model[1].eval()
    model[0].register_forward_pre_hook(lambda *_: modes.append([module.training for module in model.modules()]))
    features = column([2])
    assert torch.equal(read_without_dropout(model, features), sums(features))
    assert modes == [[False, False, False]]
    assert [module.training for module in model.modules()] == [True, True, False]
    with pytest.raises(KeyError):
        read_without_dropout(model, {})
    assert [module.training for module in model.modules()] == [True, True, False]


@pytest.mark.parametrize(("options", "times"), [({}, 2), ({"times": 1}, 1), ({"times": 3}, 3)])
def test_rows_are_repeated_one_batch_after_the_other(options, times):
    features = column([1, 3])
    repeated = repeat_rows(features, **options)
    assert torch.equal(repeated["input_ids"], torch.cat([features["input_ids"]] * times))
    assert (repeated["name"], repeated["scalar"]) == ("kept", torch.tensor(3))


def test_rows_are_taken_without_the_padding_they_do_not_need():
    features = column([1, 4, 2], width=6) | {"row": torch.tensor([7, 8, 9]), "other": torch.ones(2, 6)}
    features["wide"] = torch.ones(3, 9)
    taken = take_rows(features, torch.tensor([2, 0]))
    assert torch.equal(taken["input_ids"], features["input_ids"][[2, 0], :2])
    assert torch.equal(taken["attention_mask"], torch.tensor([[1, 1], [1, 0]]))
    assert taken["row"].tolist() == [9, 7]
    assert taken["other"] is features["other"]
    assert taken["wide"].shape == (2, 9)
    assert (taken["name"], taken["scalar"]) == ("kept", 3)
    left = {"attention_mask": torch.tensor([[0, 1, 0]])}  # a hole and padding on the left stay
    assert take_rows(left, torch.tensor([0]))["attention_mask"].tolist() == [[0, 1]]
    empty = {"attention_mask": torch.zeros(2, 3, dtype=torch.long)}
    assert take_rows(empty, torch.tensor([1]))["attention_mask"].shape == (1, 1)


@pytest.mark.parametrize("tokens", [1, 8, 1600])
def test_pieces_come_back_in_the_order_of_the_rows(tokens, monkeypatch):
    monkeypatch.setattr(views, "_CPU_TOKENS", tokens)
    features = column([3, 1, 4, 1, 5])
    sizes = []

    def encode(piece):
        sizes.append(piece["input_ids"].shape)
        return sums(piece)

    assert torch.equal(in_pieces(encode, features), sums(features))
    assert [width for _, width in sizes] == sorted(width for _, width in sizes)
    assert all(rows * width <= max(tokens, width) for rows, width in sizes)


@pytest.mark.parametrize("columns", [1, 2, 3])
@pytest.mark.parametrize("accelerated", [False, True])
def test_a_single_column_stands_for_two_views_and_pairs_for_themselves(columns, accelerated):
    spy = Spy()
    batch = [column([2 + number, 4, 1]) for number in range(columns)]
    with accelerate(spy) if accelerated else nullcontext():
        found = embed_views(spy, batch)
    expected = [sums(features) for features in batch] * (2 if columns == 1 else 1)
    assert len(found) == len(expected)
    for view, wanted in zip(found, expected, strict=True):
        assert torch.equal(view, wanted)


@pytest.mark.parametrize("times", [1, 2])
def test_rows_of_a_group_are_as_many_as_their_tokens_allow_counting_every_view(times, monkeypatch):
    monkeypatch.setattr(views, "_CPU_TOKENS", 24)
    monkeypatch.setattr(views, "_CPU_TOKENS_OF_A_PASS", 1000)  # so that groups are as large as may be
    spy = Spy()
    with accelerate(spy):
        embed_views(spy, [column([3] * 8)] * (2 if times == 1 else 1))
    assert {len(asked["input_ids"]) for asked in spy.asked} == {8}  # 8 rows of 3 tokens, or 4 of them twice


def test_dropout_views_leave_the_model_and_the_random_state_and_repeat_with_their_seed(tiny_bert):
    model, texts = SentenceTransformer(tiny_bert, device="cpu"), sentences(70)  # more than are encoded at a time
    for training in (True, False):
        model.train(training)
        state = torch.get_rng_state()
        first, second = dropout_views(model, texts)
        assert model.training is training
        assert torch.equal(torch.get_rng_state(), state)
    assert first.shape == second.shape == (70, 32)
    assert first.dtype == second.dtype == torch.float32
    assert not first.requires_grad
    assert not torch.allclose(first, second)
    shipped = torch.from_numpy(model.encode(texts))
    assert (torch.cosine_similarity(first, shipped) > 0.5).all()  # each sentence in its place
    for seed, same in ((0, True), (1, False)):
        assert torch.equal(dropout_views(model, texts, seed=seed)[0], first) is same


def test_dropout_views_read_what_is_shipped_and_as_many_tokens_as_asked(tiny_bert):
    model = build_encoder(tiny_bert, device="cpu", dropout=1e-9)  # as good as none, with a head that is not shipped
    texts = sentences(3)
    for length in (None, 4):
        features = model.preprocess(texts, max_length=length)
        expected = model.eval()(dict(features))["sentence_embedding"]
        torch.testing.assert_close(dropout_views(model, texts, max_length=length)[0], expected.detach())


def test_a_queue_shows_what_it_would_hold_and_keeps_its_precision():
    generator = torch.Generator().manual_seed(0)
    queue, rows = VectorQueue(4, 3), torch.randn(9, 3, generator=generator, requires_grad=True)
    unit = functional.normalize(rows.detach(), dim=1)
    torch.testing.assert_close(queue.with_new(rows[:2].double()), unit[:2])
    assert len(queue) == 0
    assert queue.filled.dtype == torch.long
    queue.push(rows[:3].double())
    assert queue.rows.dtype == torch.float32
    assert not queue.rows.requires_grad
    torch.testing.assert_close(queue.newest, unit[:3])
    torch.testing.assert_close(queue.with_new(rows[3:5]), unit[1:5])
    torch.testing.assert_close(queue.with_new(rows[3:9]), unit[3:9])  # all of these, even if they are more
    queue.push(rows[3:9])
    torch.testing.assert_close(queue.newest, unit[5:9])
    assert len(queue) == 4


def test_vectors_of_all_ranks_come_without_gradient_and_those_of_one_are_not_gathered(monkeypatch):
    vectors, gathered = torch.ones(2, 3, requires_grad=True), []
    monkeypatch.setattr(ranks, "all_gather", lambda rows: gathered.append(1) or torch.cat([rows] * 2))
    for started, world, rows in ((False, 2, 2), (True, 1, 2), (True, 2, 4)):
        monkeypatch.setattr(ranks.distributed, "is_initialized", lambda started=started: started)
        monkeypatch.setattr(ranks.distributed, "get_world_size", lambda world=world: world)
        found = of_all_ranks(vectors)
        assert (len(found), found.requires_grad, len(gathered)) == (rows, False, rows // 4)


def test_a_model_wrapped_for_several_devices_is_read_through_its_wrapper(monkeypatch, tiny_bert):
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    monkeypatch.setattr(head, "DistributedDataParallel", Wrapper)
    model = build_encoder(tiny_bert, device="cpu")
    assert unwrapped(Wrapper(model)) is model
    assert unwrapped(model) is model
    assert head_of(Wrapper(model)) is head_of(model)


def test_the_momentum_encoder_ends_before_the_head_and_the_normalisation(tiny_bert):
    model = build_encoder(tiny_bert, device="cpu")
    body = [module for module in model if module is not head_of(model)]
    assert len(MomentumEncoder(model, 0.9).encoder) == len(body) == len(model) - 1
    normalised = SentenceTransformer(modules=[*body, Normalize()], device="cpu")
    assert len(MomentumEncoder(normalised, 0.9).encoder) == len(body)


def test_the_momentum_encoder_has_neither_head_nor_dropout_and_starts_as_the_model(tiny_bert):
    model = build_encoder(tiny_bert, device="cpu", dropout=0.3).train()
    learns = [parameter.requires_grad for parameter in model.parameters()]
    slow = MomentumEncoder(model, 0.9).train()
    assert not any(module.training for module in slow.modules())
    assert not any(parameter.requires_grad for parameter in slow.parameters())
    features = model.preprocess(sentences(4))
    expected = model.eval()(dict(features))["sentence_embedding"].detach()
    torch.testing.assert_close(slow(dict(features)), expected)
    assert [parameter.requires_grad for parameter in model.parameters()] == learns
    trained = head_of(model)
    assert trained is not None
    assert PROJECTION in trained({"sentence_embedding": expected})
    assert head_of(SentenceTransformer(tiny_bert, device="cpu")) is None


def test_dropout_views_begin_with_the_models_prompt(tiny_bert):
    model = build_encoder(tiny_bert, device="cpu")
    texts = sentences(3)
    plain = dropout_views(model, texts)[0]
    model.prompts, model.default_prompt_name = {"task": "the cat "}, "task"
    prompted = dropout_views(model, texts)[0]
    assert not torch.allclose(prompted, plain)
    model.default_prompt_name = None
    torch.testing.assert_close(dropout_views(model, [f"the cat {text}" for text in texts])[0], prompted)
