from __future__ import annotations

import platform
import subprocess
import sys
import threading

import numpy as np
import pytest

from smoothcse import train
from smoothcse._utils import freed_memory
from smoothcse._utils.freed_memory import give_back_freed_memory, keep_freed_memory
from smoothcse.encoders.load import load_encoder
from smoothcse.service import batcher, readings
from smoothcse.service.batcher import Batcher
from smoothcse.training.callbacks import freed_memory as callback
from tiny import sentences

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


FAULTS = """
import resource
import sys
from smoothcse._utils.freed_memory import keep_freed_memory

if sys.argv[1:]:
    keep_freed_memory()

def use():
    blocks = [bytearray(12 << 20) for _ in range(3)]
    return [block[:: 4096] for block in blocks]  # touches each page

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

use()
before = faults()
for _ in range(10):
    use()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_kept_memory_is_not_mapped_again():
    def faults(*arguments):
        command = [sys.executable, "-c", FAULTS, *arguments]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("keep") < 1_000
    assert faults() > 20_000


def test_a_training_run_keeps_it_between_its_checkpoints(tiny_bert, tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(callback, "keep_freed_memory", lambda: called.append("keep"))
    monkeypatch.setattr(callback, "give_back_freed_memory", lambda: called.append("give back"))
    text = tmp_path / "text.txt"
    text.write_text("\n".join(sentences(40)))
    train(text, model=tiny_bert, output=tmp_path / "run", batch_size=8, max_steps=4, eval_steps=2)
    assert called == ["keep", "give back", "give back", "give back"]


def test_elsewhere_they_do_nothing(monkeypatch):
    freed_memory._glibc.cache_clear()
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    try:
        keep_freed_memory()
        give_back_freed_memory()
        assert freed_memory._glibc() is None
    finally:
        freed_memory._glibc.cache_clear()


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
