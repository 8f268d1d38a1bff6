"""Work whose client has gone, or that something newer replaces, is dropped or waited for, and never forgotten."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client", "lancedb"):
    pytest.importorskip(package, reason="needs the extra 'serve'")

from starlette.concurrency import run_in_threadpool  # noqa: E402

from smoothcse.service import corpus_map  # noqa: E402
from smoothcse.service.limits import Limits, Refusal  # noqa: E402
from smoothcse.service.maps import MAP_FILE, Maps  # noqa: E402
from smoothcse.service.presence import while_present  # noqa: E402
from smoothcse.service.queues import Encoders  # noqa: E402

SERVED = SimpleNamespace(name="one")


def encoders(**attributes):
    made = object.__new__(Encoders)
    for name, value in {"limits": Limits(answer_seconds=0.01), "_tracing": None, **attributes}.items():
        setattr(made, name, value)
    return made


def test_texts_that_took_too_long_are_not_encoded_later():
    asked: Future[None] = Future()
    batcher = SimpleNamespace(submit=lambda texts, reading: asked)
    with pytest.raises(Refusal, match="busy"):
        encoders(_batchers={"one": batcher}).wait(SERVED, ["a"], None)
    assert asked.cancelled()


def test_a_change_that_waits_is_dropped_and_one_that_has_begun_is_completed():
    begun, go, done = threading.Event(), threading.Event(), []

    def change(name):
        begun.set()
        go.wait(10)
        done.append(name)

    async def requests():
        queues = encoders(_writing={"one": asyncio.Lock()})
        first, second = (asyncio.create_task(queues.change(SERVED, lambda n=n: change(n))) for n in (1, 2))
        await run_in_threadpool(begun.wait, 10)
        for request in (first, second):
            request.cancel()
        await asyncio.wait({first, second})
        go.set()
        await queues.change(SERVED, lambda: change(3))

    asyncio.run(requests())
    assert done == [1, 3]


def test_a_thread_is_waited_for_when_its_client_has_gone():
    """Its slot would be free while it goes on, and nothing would bound the number of threads."""
    begun, go = threading.Event(), threading.Event()
    ended = []

    def work():
        begun.set()
        go.wait(10)
        ended.append(time.monotonic())

    async def app(scope, receive, send):
        await run_in_threadpool(work)
        await asyncio.sleep(0)
        ended.append("answered")

    async def receive():
        await run_in_threadpool(begun.wait, 10)
        return {"type": "http.disconnect"}

    async def request():
        answering = asyncio.create_task(while_present(app, {"type": "http"}, b"", receive, None))
        await run_in_threadpool(begun.wait, 10)
        await asyncio.sleep(0.1)
        assert not answering.done()
        go.set()
        await answering

    asyncio.run(request())
    assert len(ended) == 1  # and nothing comes after it


def test_a_map_of_an_index_that_has_changed_is_stopped_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    record = SimpleNamespace(fingerprint="f")
    index = SimpleNamespace(version=1, record=record, incomplete=None, path=tmp_path)
    stopped = []

    class Process:
        share = 0.0

        def __init__(self):
            self.ending = threading.Event()

        def stop(self):
            self.ending.set()

    def draw(index, process):
        if (version := index.version) == 1:
            process.ending.wait(10)
            stopped.append(version)
            raise Refusal(503, "The map could not be computed.")
        return {"version": version}

    monkeypatch.setattr("smoothcse.service.maps.MapProcess", Process)
    monkeypatch.setattr(corpus_map, "corpus_map", draw)

    async def requests():
        maps = Maps()
        first = asyncio.create_task(maps.find("one", index))
        while not maps._drawings:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        index.version = 2
        return await asyncio.gather(maps.find("one", index), first)

    assert asyncio.run(requests()) == [b'{"version":2}'] * 2
    assert stopped == [1]
    assert (tmp_path / MAP_FILE).read_bytes().endswith(b'{"version":2}')
