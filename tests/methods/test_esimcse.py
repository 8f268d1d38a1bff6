"""ESimCSE against loops: what is doubled, what the queue holds, what the loss is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from smoothcse.encoders.build import build_encoder
from smoothcse.methods import base
from smoothcse.methods.esimcse import ESimCSE, ESimCSELoss, ESimCSEState
from smoothcse.methods.state import VectorQueue
from smoothcse.objectives.draws import row_keys, uniforms
from smoothcse.objectives.esimcse import repeat_subwords
from tiny import sentences


def rows(lengths, width=None, seed=0):
    """Return ids, mask and words of sentences with so many words between [CLS] 101 and [SEP] 102."""
    generator = torch.Generator().manual_seed(seed)
    width = width or max(lengths) + 2
    ids, mask = torch.zeros(len(lengths), width, dtype=torch.long), torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        words = torch.randint(200, 30000, (length,), generator=generator)
        ids[row, : length + 2] = torch.cat([torch.tensor([101]), words, torch.tensor([102])])
        mask[row, : length + 2] = 1
    return ids, mask, mask.bool() & (ids != 101) & (ids != 102)


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=8),
    rate=st.floats(0, 1),
    seed=st.integers(0, 100),
    step=st.integers(0, 10**6),
)
def test_words_are_doubled_in_place_within_the_bound(lengths, rate, seed, step):
    ids, mask, words = rows(lengths, seed=seed)
    repeated, present = repeat_subwords(ids, mask, words, rate=rate, seed=seed, step=step, longest=128)
    for row, length in enumerate(lengths):
        kept = repeated[row][present[row].bool()].tolist()
        assert (kept[0], kept[-1]) == (101, 102)
        assert not repeated[row][~present[row].bool()].any()
        extra = len(kept) - length - 2
        assert 0 <= extra <= max(0, min(10, int(rate * length)) - 1)
        reduced = [token for number, token in enumerate(kept) if number == 0 or token != kept[number - 1]]
        original = ids[row][mask[row].bool()].tolist()
        assert reduced == [t for number, t in enumerate(original) if number == 0 or t != original[number - 1]]


def test_the_count_is_uniform_and_every_word_has_its_chance():
    ids, mask, words = rows([20])
    counts, doubled = torch.zeros(6), torch.zeros(20)
    for step in range(6000):
        repeated, present = repeat_subwords(ids, mask, words, rate=0.32, seed=1, step=step, longest=128)
        kept = repeated[0][present[0].bool()]
        counts[len(kept) - 22] += 1
        twins = kept[1:][kept[1:] == kept[:-1]]
        doubled += (ids[0, 1:21, None] == twins).any(dim=1)
    assert (counts / 6000 - 1 / 6).abs().max() < 4 * math.sqrt(1 / 6 * 5 / 6 / 6000)
    expected = 2.5 / 20  # of a mean count of (0 + ... + 5) / 6
    assert (doubled / 6000 - expected).abs().max() < 5 * math.sqrt(expected / 6000)


def test_the_draw_is_the_rows_own():
    """Neither the batch, nor its order, nor its padding matters; the step does."""
    ids, mask, words = rows([12, 30, 7])
    together, present = repeat_subwords(ids, mask, words, rate=1.0, seed=3, step=5, longest=128)
    other = rows([12, 30, 7], width=40)
    order = torch.tensor([2, 0, 1])
    again, there = repeat_subwords(*(tensor[order] for tensor in other), rate=1.0, seed=3, step=5, longest=128)
    for row, source in enumerate(order):
        assert again[row][there[row].bool()].tolist() == together[source][present[source].bool()].tolist()
    later, _ = repeat_subwords(ids, mask, words, rate=1.0, seed=3, step=6, longest=128)
    assert not torch.equal(later, together)


def test_a_row_that_fills_the_model_is_left_as_it_is():
    ids, mask, words = rows([30, 27])
    repeated, present = repeat_subwords(ids, mask, words, rate=1.0, seed=0, step=2, longest=32)
    assert torch.equal(repeated[0], ids[0])
    assert repeated.shape == (2, 32)
    assert repeated[1][present[1].bool()][-1] == 102


def test_draws_are_uniform_and_unlike():
    keys = row_keys(torch.arange(2000).unsqueeze(1), torch.ones(2000, 1, dtype=torch.long), 0, 0)
    found = uniforms(keys.unsqueeze(1), torch.arange(8))
    assert found.min() >= 0
    assert found.max() < 1
    assert abs(found.mean() - 0.5) < 4 / math.sqrt(12 * found.numel())
    assert abs(torch.corrcoef(found.T) - torch.eye(8)).max() < 0.1
    assert len(set(keys.tolist())) == 2000


def test_the_queue_keeps_the_newest_as_unit_vectors():
    queue = VectorQueue(5, 3)
    assert len(queue) == 0
    pushed = []
    for number in range(4):
        new = torch.randn(2, 3, generator=torch.Generator().manual_seed(number))
        pushed += [row / row.norm() for row in new]
        queue.push(new)
        torch.testing.assert_close(queue.newest, torch.stack(pushed[-5:]))
    again = VectorQueue(5, 3)
    again.load_state_dict(queue.state_dict())
    assert len(again) == 5
    assert torch.equal(again.rows, queue.rows)


def loop_loss(z1, z2, queue, temperature):
    """Return the loss as the equation has it, pair by pair."""

    def s(a, b):
        return float(a @ b / (a.norm() * b.norm())) / temperature

    total = 0.0
    for i in range(len(z1)):
        denominator = sum(math.exp(s(z1[i], z2[j])) for j in range(len(z2)))
        denominator += sum(math.exp(s(z1[i], q)) for q in queue)
        total -= math.log(math.exp(s(z1[i], z2[i])) / denominator)
    return total / len(z1)


def test_the_loss_is_the_equation_and_its_gradient(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    loss = ESimCSELoss(encoder, settings=ESimCSE(queue_size=7))
    loss.state.queue.double().push(torch.randn(9, 32, dtype=torch.float64))
    z1, z2 = torch.randn(2, 5, 32, dtype=torch.float64).unbind()
    z1.requires_grad_()
    value = loss.compute_loss_from_embeddings([z1, z2])
    queue = loss.state.queue.rows
    assert value.item() == pytest.approx(loop_loss(z1.detach(), z2, queue, 0.05), rel=1e-10)

    [gradient] = torch.autograd.grad(value, z1)
    for place in ((0, 0), (2, 17), (4, 31)):
        moved = []
        for sign in (1, -1):
            other = z1.detach().clone()
            other[place] += sign * 1e-5
            moved.append(loop_loss(other, z2, queue, 0.05))
        assert gradient[place].item() == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-4, abs=1e-7)


def test_the_momentum_encoder_starts_pretrained_and_follows(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu").train()
    state = ESimCSEState(encoder, ESimCSE(momentum=0.9))
    start = {name: parameter.clone() for name, parameter in encoder[0].named_parameters()}
    of_copy = dict(state.momentum.encoder[0].named_parameters())
    assert all(torch.equal(of_copy[name], parameter) for name, parameter in start.items())
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1.0)
    state.momentum.follow(encoder)
    for name, parameter in start.items():
        torch.testing.assert_close(of_copy[name], parameter + 0.1, rtol=0, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in state.parameters())


def test_the_queue_holds_the_first_views_as_the_momentum_encoder_sees_them(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu").train()
    loss = ESimCSELoss(encoder, settings=ESimCSE(queue_size=6, momentum=1.0))
    reference = build_encoder(tiny_bert, device="cpu").eval()
    features = encoder.preprocess(sentences(4))
    loss([dict(features)])
    expected = torch.nn.functional.normalize(reference(dict(features))["projection"], dim=1)
    torch.testing.assert_close(loss.state.queue.newest, expected, rtol=1e-5, atol=1e-6)
    loss.loss_at(0, [dict(features)])
    assert len(loss.state.queue) == 4  # a look at the loss is not a step


@pytest.mark.parametrize("most_logits", [2**24, 1], ids=["dense", "streamed"])
@pytest.mark.parametrize("queue_size", [2, 9], ids=["shorter than the batch", "longer"])
@pytest.mark.parametrize("hard", [0, 5])
def test_the_weight_of_hard_negatives_never_reaches_the_queue(hard, queue_size, most_logits, tiny_bert, monkeypatch):
    monkeypatch.setattr(base, "DENSE_LOGITS", most_logits)
    encoder = build_encoder(tiny_bert, device="cpu")
    loss = ESimCSELoss(encoder, settings=ESimCSE(queue_size=queue_size), hard_negative_log_weight=1.5).double()
    torch.manual_seed(0)
    loss.state.queue.push(torch.randn(queue_size, 32, dtype=torch.float64))
    views = list(torch.randn(2 + bool(hard), 5, 32, dtype=torch.float64))
    queue = loss.state.queue.newest
    unit = [view / view.norm(dim=1, keepdim=True) for view in views]
    keys = torch.cat([*unit[1:], queue])
    logits = unit[0] @ keys.T / 0.05
    for row in range(hard):
        logits[row, 5 + row] += 1.5
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(5))
    assert loss.compute_loss_from_embeddings(views).item() == pytest.approx(expected.item(), rel=1e-9)


def test_the_second_view_has_the_words_doubled_that_are_no_special_tokens(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu").train()
    loss = ESimCSELoss(encoder, settings=ESimCSE(repetition_rate=1.0), seed=3)
    loss.step = 5
    column = encoder.preprocess(sentences(6)) | {"name": "kept"}
    ids, mask = column["input_ids"], column["attention_mask"]
    first, second = loss.views([column])
    words = mask.bool() & (ids != encoder.tokenizer.cls_token_id) & (ids != encoder.tokenizer.sep_token_id)
    repeated, present = repeat_subwords(
        ids, mask, words, rate=1.0, seed=3, step=5, longest=encoder.max_seq_length
    )  # fmt: skip
    assert first is column
    assert torch.equal(second["input_ids"], repeated)
    assert torch.equal(second["attention_mask"], present)
    assert (present.sum(dim=1) > mask.sum(dim=1)).any()
    assert set(second) == {"input_ids", "attention_mask"} | {
        key for key, value in column.items() if not isinstance(value, torch.Tensor)
    }
    assert second["name"] == "kept"


def test_pairs_and_triplets_are_left_as_they_are(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    for count in (2, 3):
        columns = [encoder.preprocess(sentences(3, seed)) for seed in range(count)]
        assert ESimCSELoss(encoder).views(columns) is columns


def test_a_doubled_sentence_is_as_long_as_the_model_reads_or_512(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    for length, expected in ((20, 20), (None, 512)):
        encoder.max_seq_length = length
        assert ESimCSELoss(encoder).longest == expected


def test_an_empty_queue_adds_nothing_and_one_of_size_zero_stays_empty(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu").train()
    features = encoder.preprocess(sentences(4))
    assert ESimCSELoss(encoder).further_negatives() is None
    loss = ESimCSELoss(encoder, settings=ESimCSE(queue_size=0))
    loss([dict(features)])
    assert loss.further_negatives() is None


def test_without_a_head_the_queue_holds_what_the_encoder_gives(tiny_bert):
    encoder = SentenceTransformer(tiny_bert, device="cpu").train()
    loss = ESimCSELoss(encoder, settings=ESimCSE(queue_size=6, momentum=1.0))
    features = encoder.preprocess(sentences(4))
    loss([dict(features)])
    expected = torch.nn.functional.normalize(encoder.eval()(dict(features))["sentence_embedding"], dim=1)
    torch.testing.assert_close(loss.state.queue.newest, expected.detach(), rtol=1e-5, atol=1e-6)


def test_the_tokens_of_a_prompt_are_not_repeated(tiny_bert):
    encoder = build_encoder(tiny_bert, device="cpu")
    loss = ESimCSELoss(encoder, settings=ESimCSE(repetition_rate=1.0, queue_size=0))
    features = encoder.preprocess(sentences(6))
    ids, length = features["input_ids"], 4  # [CLS] and three words
    doubled = {0: False, length: False}
    for loss.step in range(30):
        for prompt in doubled:
            repeated = loss.views([{**features, "prompt_length": prompt}])[1]["input_ids"]
            doubled[prompt] |= bool((repeated[:, : length + 1] != ids[:, : length + 1]).any())
    assert doubled == {0: True, length: False}
