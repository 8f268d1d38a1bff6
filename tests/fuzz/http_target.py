"""The HTTP service as a function of bytes: the first line is the path, the rest the body."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from starlette.testclient import TestClient

from smoothcse.search import Document, Index
from smoothcse.service import Limits, Served, create_app

sys.path.append(str(Path(__file__).parents[1]))

from tiny import save_tiny_model, sentences

PATHS = ("/v1/embeddings", "/search", "/similarity")


def http_target(scratch: Path) -> Callable[[bytes], None]:
    """Start the service in this process; its own errors and silences are findings."""
    model = save_tiny_model(scratch / "served")
    documents = [
        Document(text, str(n), {"year": 2000 + n, "kind": "ab"[n % 2], "a.b`c": n})
        for n, text in enumerate(sentences(9))
    ]
    index = Index.build(scratch / "http.index", model, documents, console=Console(quiet=True))
    app = create_app([Served("tiny", index.model, index)], limits=Limits(body_bytes=100_000, answer_seconds=10))
    client = TestClient(app, raise_server_exceptions=False)
    client.__enter__()  # for as long as the process lives

    def read(data: bytes) -> None:
        place, _, body = data.partition(b"\n")
        path = place.decode("latin-1") if place.decode("latin-1") in PATHS else PATHS[sum(place) % len(PATHS)]
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code < 500, (path, body, answer.text)
        assert answer.status_code < 400 or isinstance(answer.json()["error"]["message"], str)

    return read
