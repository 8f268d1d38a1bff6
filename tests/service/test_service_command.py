"""``smoothcse serve`` as its users start it: it listens, refuses what is unsafe, and ends politely."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from commands import run_here
from forked import free_port
from served import until
from tiny import sentences

for package in ("fastapi", "uvicorn", "fastapi_offline", "prometheus_client", "lancedb"):
    pytest.importorskip(package, reason="needs the extra 'serve'")

import httpx  # noqa: E402

from smoothcse.errors import SmoothCSEError  # noqa: E402
from smoothcse.service.server import _bind, serve_models  # noqa: E402

COMMAND = [sys.executable, "-m", "smoothcse", "serve"]


def _answers(url):
    try:
        return httpx.get(f"{url}/healthz", timeout=1).text == "ok"
    except httpx.TransportError:
        return False


def _waiting_texts(url):
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("smoothcse_waiting_texts"))


def test_sigterm_lets_requests_end(tiny_bert):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([*COMMAND, tiny_bert, "--port", str(port)], stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: _answers(url), seconds=60)
        texts = sentences(1500)
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(httpx.post, f"{url}/v1/embeddings", json={"input": texts}, timeout=60)
            until(lambda: _waiting_texts(url) > 0)
            server.send_signal(signal.SIGTERM)
            answer = pending.result(60)
        assert answer.status_code == 200
        assert len(answer.json()["data"]) == 1500
        assert server.wait(30) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        assert not _answers(url)
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"host": "0.0.0.0"}, "Set SMOOTHCSE_TOKEN, or pass --without-token"),
        ({"token": "naïve"}, "The token must consist of printable ASCII"),
        ({"indexes": [Path("nowhere.index")]}, "nowhere.index"),
        ({"poolings": ["median"]}, "median"),
        ({"origins": ["*"]}, "every website"),
        ({"reranker": "nowhere"}, "The model nowhere is neither a folder"),
    ],
)
def test_what_cannot_be_served_is_said(tiny_bert, options, sentence):
    with pytest.raises(SmoothCSEError, match=sentence):
        serve_models([tiny_bert], port=0, **options)


def test_a_port_that_is_taken(tiny_bert, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert run_here("serve", tiny_bert, "--port", taken.getsockname()[1]) == 2
    assert "Cannot listen on" in capsys.readouterr().err


def test_answers_are_not_held_back():
    """asyncio turns off Nagle's algorithm for sockets of this protocol alone; with it each answer takes 40 ms more."""
    with _bind("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP
