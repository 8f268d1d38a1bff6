"""``.service.json`` in an index folder: the service on this machine that holds the index and its model in memory.

Loading a model takes far longer than a search, so ``smoothcse search`` asks that service, and imports neither torch
nor LanceDB for this. The file can only name a port of the loopback interface, and counts only in the folder for which
it was written: the query and the token never leave the machine.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.choices import Rerank
from smoothcse.search.hits import Hit, SearchOutcome

SERVICE_FILE = ".service.json"
"""Name of the file."""

_LOOPBACK = {"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::1": "[::1]", "::": "[::1]"}
"""Loopback address at which a service that listens on an address can be reached."""

_SECONDS = 60.0


@contextmanager
def announced(models: Mapping[Path, str], address: tuple[Any, ...]) -> Iterator[None]:
    """Announce a service in the indexes that it searches, for the duration of the block.

    Nothing is announced if the service cannot be reached over the loopback interface, or a folder cannot be written.

    Args:
        models: Name of the served model by index folder.
        address: Host and port that the service listens on.
    """
    host = _LOOPBACK.get(address[0])
    contents = {
        path: json.dumps({"url": f"http://{host}:{address[1]}", "index": str(path.resolve()), "model": model})
        for path, model in models.items()
        if host
    }
    for path, content in contents.items():
        with suppress(OSError):  # a volume that is mounted read-only
            write_text_atomic(path / SERVICE_FILE, content + "\n")
    try:
        yield
    finally:
        for path, content in contents.items():
            with suppress(OSError):
                if (path / SERVICE_FILE).read_text(encoding="utf-8") == content + "\n":  # not that of a later service
                    (path / SERVICE_FILE).unlink()


def ask_service(
    index: Path,
    query: str,
    k: int,
    *,
    where: str | None = None,
    cosine_weight: float | None = None,
    rerank: Rerank | None = None,
) -> SearchOutcome | None:
    """Search an index by the service that has announced itself there; None if there is none or it refuses.

    Args:
        index: Index folder.
        query: Query.
        k: Maximum number of documents.
        where: Condition on the metadata.
        cosine_weight: Weight of the cosine similarity, see :meth:`smoothcse.search.index.Index.search`.
        rerank: Second stage of the search.
    """
    try:
        found = json.loads((index / SERVICE_FILE).read_text(encoding="utf-8"))
        url, model = found["url"], found["model"]
        if found["index"] != str(index.resolve()) or not _is_loopback(url):
            return None
        options = {"where": where, "cosine_weight": cosine_weight, "rerank": rerank}
        answer = _post(f"{url}/search", {"query": query, "k": k, "model": model, **options})
        hits = [Hit(**hit) for hit in answer["results"]]
        notes = [answer["incomplete"]] if answer.get("incomplete") else []
        return SearchOutcome(hits, answer["milliseconds"], answer["rerank"], notes)
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):  # stopped, or something else there
        return None


def _is_loopback(url: str) -> bool:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return url.startswith("http://") and host in _LOOPBACK.values() and port.isdecimal()


def _post(url: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("SMOOTHCSE_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    request = Request(url, json.dumps(body).encode(), headers)
    with build_opener(ProxyHandler({})).open(request, timeout=_SECONDS) as answer:  # no proxy for this machine
        return json.load(answer)
