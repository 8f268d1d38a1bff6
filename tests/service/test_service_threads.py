"""One short text is encoded by as many threads as were measured to be fastest."""

from __future__ import annotations

import time

import pytest
import torch

from smoothcse.encoders.inference import encode
from smoothcse.encoders.load import load_encoder

pytest.importorskip("fastapi", reason="needs the extra 'serve'")

from smoothcse.service import readings, threads
from smoothcse.service.batcher import Batcher
from smoothcse.service.threads import threads_for_short_texts, torch_threads


@pytest.fixture(autouse=True)
def three_threads():
    with torch_threads(3):
        yield


@pytest.fixture(scope="module")
def model(tiny_bert):
    return load_encoder(tiny_bert)


def takes(monkeypatch, seconds):
    """Let encoding take some seconds by number of threads."""
    monkeypatch.setattr(threads, "encode", lambda *_: time.sleep(seconds[torch.get_num_threads()]))


@pytest.mark.parametrize(
    ("one", "three", "chosen"),
    [(0.002, 0.02, 1), (0.02, 0.02, 1), (0.02, 0.002, 3)],
    ids=["slower", "equal", "faster"],
)
def test_all_threads_are_used_only_if_they_are_faster(model, monkeypatch, one, three, chosen):
    takes(monkeypatch, {1: one, 3: three})
    assert threads_for_short_texts(model) == chosen
    assert torch.get_num_threads() == 3


def test_a_slow_model_is_not_measured_further(model, monkeypatch):
    calls = []
    monkeypatch.setattr(threads, "encode", lambda *_: calls.append(time.sleep(0.2)))
    assert threads_for_short_texts(model) == 3
    assert len(calls) == 1


def test_a_real_model_is_measured(model):
    assert threads_for_short_texts(model) in {1, 3}
    with torch_threads(1):
        assert threads_for_short_texts(model) == 1


def test_on_a_gpu_the_number_of_threads_is_left_as_it_is(monkeypatch):
    class OnGPU:
        device = torch.device("cuda")

    monkeypatch.setattr(threads, "encode", lambda *_: pytest.fail("nothing to measure"))
    assert threads_for_short_texts(OnGPU()) == 3


def test_a_batch_of_one_short_text_has_its_own_number_of_threads(model, monkeypatch):
    used = []

    def noted(model, texts, **options):
        used.append((len(texts), torch.get_num_threads()))
        return encode(model, texts, **options)

    monkeypatch.setattr(readings, "encode", noted)
    batcher = Batcher(model, batch_texts=8, waiting_texts=100, short_text_threads=1)
    for texts in (["a short text"], ["a long text " * 40], ["a short text", "another"], ["a short text"]):
        batcher.submit(texts).result(20)
    batcher.close()
    assert used == [(1, 1), (1, 3), (2, 3), (1, 1)]
    assert torch.get_num_threads() == 3


def test_without_a_number_all_threads_are_used(model, monkeypatch):
    used = []
    monkeypatch.setattr(
        readings,
        "encode",
        lambda model, texts, **options: used.append(torch.get_num_threads()) or encode(model, texts, **options),
    )
    batcher = Batcher(model, batch_texts=8, waiting_texts=100)
    batcher.submit(["a short text"]).result(20)
    batcher.close()
    assert used == [3]
