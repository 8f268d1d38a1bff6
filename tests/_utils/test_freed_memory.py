from __future__ import annotations

import platform
import subprocess
import sys
import threading

import numpy as np
import pytest

from smoothcse._utils import freed_memory
from smoothcse._utils.freed_memory import give_back_freed_memory
from smoothcse.encoders.load import load_encoder
from smoothcse.service import batcher, readings
from smoothcse.service.batcher import Batcher

HOLES = """
from pathlib import Path
from smoothcse._utils.freed_memory import give_back_freed_memory

def resident():
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024

start = resident()
blocks = [bytearray(b"x" * 100_000) for _ in range(2_000)]
kept = blocks[::20]  # the freed ones lie between these
del blocks
freed = resident()
give_back_freed_memory()
print(start, freed, resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_holes_between_what_is_in_use_go_back():
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    start, freed, after = map(float, done.stdout.split())
    assert freed > start + 150
    assert after < start + 40


def test_elsewhere_it_does_nothing(monkeypatch):
    freed_memory._malloc_trim.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    try:
        give_back_freed_memory()
        assert freed_memory._malloc_trim() is None
    finally:
        freed_memory._malloc_trim.cache_clear()


def test_the_service_gives_back_after_every_256_texts(tiny_bert, monkeypatch):
    pytest.importorskip("fastapi", reason="needs the extra 'serve'")
    given_back = threading.Semaphore(0)
    monkeypatch.setattr(batcher, "give_back_freed_memory", given_back.release)
    monkeypatch.setattr(readings, "encode", lambda model, texts, **options: np.zeros((len(texts), 2), np.float32))
    monkeypatch.setattr(readings, "token_counts", lambda model, texts, prompt: np.ones(len(texts), int))
    encoder = Batcher(load_encoder(tiny_bert, device="cpu"), batch_texts=64, waiting_texts=10_000)
    encoder.submit(["text"] * 250).result(10)
    assert not given_back.acquire(timeout=0.2)
    encoder.submit(["text"] * 64).result(10)
    assert given_back.acquire(timeout=10)
    encoder.close()
