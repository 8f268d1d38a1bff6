"""Fuzzing targets of the HTTP service: a path with a body, and the raw bytes of a connection."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from starlette.testclient import TestClient

from smoothcse.encoders.load import load_encoder
from smoothcse.search import Document, Index
from smoothcse.service import Limits, Served, create_app

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from served import listening
from tiny import save_tiny_model, sentences

_RUNNING = []
PATHS = ("/v1/embeddings", "/search", "/similarity")


def http_target(scratch: Path) -> Callable[[bytes], None]:
    """Start the service in this process; the first line of an input is the path, the rest is the body.

    Server errors and errors without a message are findings.
    """
    model = save_tiny_model(scratch / "served")
    documents = [
        Document(text, str(n), {"year": 2000 + n, "kind": "ab"[n % 2], "a.b`c": n})
        for n, text in enumerate(sentences(9))
    ]
    index = Index.build(scratch / "http.index", model, documents, console=Console(quiet=True))
    app = create_app([Served("tiny", index.model, index)], limits=Limits(body_bytes=100_000, answer_seconds=10))
    client = TestClient(app, raise_server_exceptions=False)
    client.__enter__()  # stays open until the process ends

    def read(data: bytes) -> None:
        place, _, body = data.partition(b"\n")
        path = place.decode("latin-1") if place.decode("latin-1") in PATHS else PATHS[sum(place) % len(PATHS)]
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, (path, body, answer.text)
        assert answer.status_code < 400 or isinstance(answer.json()["error"]["message"], str)

    return read


def connection_target(scratch: Path) -> Callable[[bytes], None]:
    """Start the service on a loopback port; an input is the bytes that a client sends.

    Findings are server errors, responses that are not HTTP, and connections that stay open.
    """
    limits = Limits(head_seconds=0.02, upload_seconds=0.02, answer_seconds=10)
    app = create_app([Served("tiny", load_encoder(save_tiny_model(scratch / "connected")))], limits=limits)
    _RUNNING.append(listening(app, limits))  # stays open until the process ends
    port = int(_RUNNING[-1].__enter__().rpartition(":")[2])

    def read(data: bytes) -> None:
        answer = b""
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client, suppress(ConnectionError):
            client.sendall(data)
            while piece := client.recv(65536):
                answer += piece
        assert answer == b"" or answer.startswith(b"HTTP/1.1 "), (data, answer)
        assert b"HTTP/1.1 500" not in answer, (data, answer)
        assert b"Invalid HTTP request" not in answer, (data, answer)  # uvicorn's own message

    return read
