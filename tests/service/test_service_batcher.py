"""Requests are encoded together, fairly, and each gets its own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from served import until
from smoothcse.encoders.inference import encode, in_precision
from smoothcse.encoders.load import load_encoder
from smoothcse.evaluation.maxsim import late_interaction
from tiny import sentences

pytest.importorskip("fastapi", reason="needs the extra 'serve'")

from smoothcse.encoders import inference as encoding
from smoothcse.encoders.bf16_weights import with_bf16_weights
from smoothcse.service import readings
from smoothcse.service.batcher import Batcher
from smoothcse.service.limits import Refusal
from smoothcse.service.readings import LateInteraction


@pytest.fixture(scope="module")
def model(tiny_bert):
    return load_encoder(tiny_bert)


class Held:
    """Stands before ``encode``: each batch is noted, and waits until it is let go."""

    def __init__(self, monkeypatch):
        self.batches, self.go = [], threading.Event()
        monkeypatch.setattr(readings, "encode", self)

    def __call__(self, model, texts, **options):
        self.batches.append(texts)
        assert self.go.wait(20)
        if "poison" in texts:
            raise RuntimeError("the model cannot do this")
        return encode(model, texts, **options)


@pytest.fixture
def held(monkeypatch):
    found = Held(monkeypatch)
    yield found
    found.go.set()


@pytest.fixture
def make(model):
    made = []

    def making(**options):
        made.append(Batcher(model, **{"batch_texts": 64, "waiting_texts": 1000, **options}))
        return made[-1]

    yield making
    for one in made:
        one.close()


def test_many_callers_each_get_what_they_asked_for(make, model):
    sizes = []
    batcher = make(batch_texts=16, on_batch=sizes.append)
    requests = [sentences(1 + row % 7, seed=row) for row in range(60)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda texts: batcher.submit(texts).result(30), requests))
    for texts, answer in zip(requests, answers, strict=True):
        expected = encode(model, texts, normalize=True)
        assert answer.vectors.shape == expected.shape
        assert (answer.vectors * expected).sum(axis=1) == pytest.approx(np.ones(len(texts)), abs=1e-3)
        assert answer.tokens == sum(len(model.tokenizer(text)["input_ids"]) for text in texts)
    assert sum(sizes) == sum(map(len, requests))
    assert max(sizes) <= 16
    assert batcher.waiting == 0


def test_documents_are_compared_with_their_own_query(make, model):
    """Requests with different queries share a batch, and a long list of documents is compared in portions."""
    batcher = make(batch_texts=8)
    queries, documents = sentences(4), sentences(20, seed=1)
    asked = [batcher.submit(documents, LateInteraction(query)) for query in queries]
    encoded = batcher.submit(documents)
    expected = late_interaction(model, queries, documents, np.tile(np.arange(20), (4, 1)))
    found = [future.result(30).vectors for future in asked]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert encoded.result(30).vectors.shape == (20, 32)


def test_bf16_copies_the_weights_once(model, monkeypatch):
    copies = []
    monkeypatch.setattr(
        encoding, "with_bf16_weights", lambda model: copies.append(with_bf16_weights(model)) or copies[-1]
    )
    batcher = Batcher(in_precision(model, "bf16"), batch_texts=8, waiting_texts=100)
    texts = sentences(6)
    found = np.concatenate([batcher.submit([text]).result(20).vectors for text in texts])
    batcher.close()
    assert len(copies) == 1
    expected = encode(model, texts, batch_size=1, precision="bf16", normalize=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_comes_while_the_model_computes_is_one_batch(make, held):
    batcher = make()
    first = batcher.submit(["first"])
    until(lambda: held.batches)
    others = [batcher.submit([text]) for text in sentences(20)]
    held.go.set()
    for future in [first, *others]:
        future.result(20)
    assert [len(batch) for batch in held.batches] == [1, 20]


def test_a_batch_of_one_turns_it_off(make, held):
    batcher = make(batch_texts=1)
    futures = [batcher.submit([text]) for text in sentences(5)]
    held.go.set()
    for future in futures:
        future.result(20)
    assert [len(batch) for batch in held.batches] == [1] * 5


def test_a_large_request_does_not_hold_up_a_small_one(make, held):
    batcher = make(batch_texts=8)
    large = batcher.submit(sentences(200))
    until(lambda: held.batches)
    small = batcher.submit(["a small one"])
    held.go.set()
    small.result(20)
    assert "a small one" in held.batches[1]
    assert not large.done()
    assert large.result(20).vectors.shape == (200, 32)
    assert all(len(batch) == 8 for batch in held.batches[:-1])  # what the small one leaves of its share is used


def test_a_full_queue_refuses_and_takes_again_later(make, held):
    batcher = make(waiting_texts=10)
    first = batcher.submit(sentences(8))
    with pytest.raises(Refusal, match="8 texts are already waiting") as refusal:
        batcher.submit(sentences(3))
    assert refusal.value.status == 429
    second = batcher.submit(sentences(2))
    held.go.set()
    first.result(20), second.result(20)
    until(lambda: batcher.waiting == 0)
    assert len(batcher.submit(sentences(50)).result(20).vectors) == 50  # alone, a request may be as large as it is


def test_an_error_is_told_to_those_it_concerns(make, held):
    batcher = make(batch_texts=2)
    wrong = batcher.submit(["poison", *sentences(10)])
    held.go.set()
    with pytest.raises(RuntimeError, match="cannot do this"):
        wrong.result(20)
    assert len(batcher.submit(["fine"]).result(20).vectors) == 1
    assert batcher.waiting == 0
    assert sum(map(len, held.batches)) < 6  # the rest of the failed request was not worked on


def test_what_is_cancelled_is_not_encoded(make, held):
    batcher = make()
    batcher.submit(["first"])
    until(lambda: held.batches)
    gone = batcher.submit(["nobody waits for this"])
    assert gone.cancel()
    last = batcher.submit(["last"])
    held.go.set()
    last.result(20)
    assert held.batches == [["first"], ["last"]]
    until(lambda: batcher.waiting == 0)


def test_closing_encodes_what_waits(model, held):
    batcher = Batcher(model, batch_texts=4, waiting_texts=1000)
    futures = [batcher.submit([text]) for text in sentences(10)]
    held.go.set()
    batcher.close()
    assert all(future.done() for future in futures)
    with pytest.raises(Refusal, match="shutting down") as refusal:
        batcher.submit(["late"])
    assert refusal.value.status == 503
