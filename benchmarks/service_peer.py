"""Compare the HTTP service with infinity under the same load: the same weights, alternately.

Each server is a separate process, and waits while another one is measured. For 1, 8 and 64 clients with one short or
one long text a request, and for 8 clients with 32 short texts, every server in turn answers ``/v1/embeddings`` for a
few seconds, several times, so that a slow minute of the machine affects all. A client waits for each response. The
peer has its own defaults. It needs older libraries than this package, and therefore an environment of its own::

    python -m venv peer && peer/bin/pip install torch==2.13.0 "infinity-emb[torch,server]"
    python benchmarks/service_peer.py --infinity peer/bin/infinity_emb [--seconds 3] [--repeats 5] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from harness import SHARED, Budget, keep, require_idle_machine, show
from numpy.typing import NDArray
from page import server_rows
from service_load import load, measure, running

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences
from smoothcse.encoders.packaged import PACKAGED_MINILM, packaged_minilm_folder

PEER, OURS, INT8 = "infinity", "smoothcse", "smoothcse, OpenVINO int8"
LONG = 10
"""Number of sentences of a long text."""

COMPARED = 32
"""Number of texts whose embeddings are compared."""


@dataclass(frozen=True)
class Server:
    """A server to compare.

    Attributes:
        command: Command that runs it, without its port.
        health: Path that answers once it is ready.
    """

    command: list[str]
    health: str


@dataclass(frozen=True)
class Load:
    """Requests that clients send.

    Attributes:
        name: Name in the table.
        clients: Number of concurrent clients.
        texts: Texts of a request.
        long: Whether the texts are long.
    """

    name: str
    clients: int
    texts: int = 1
    long: bool = False


LOADS = (
    *(Load(f"short text, {count} clients", count) for count in (1, 8, 64)),
    *(Load(f"long text, {count} clients", count, long=True) for count in (1, 8, 64)),
    Load("32 short texts, 8 clients", 8, texts=32),
)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--infinity", type=Path, help="its command infinity_emb [infinity is left out]")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each measurement")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each server under each load")
    parser.add_argument("--model", default=PACKAGED_MINILM, help="model folder")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    arguments = parser.parse_args()
    quiet_libraries()
    seconds, repeats, loads = arguments.seconds, arguments.repeats, LOADS
    if arguments.quick:
        seconds, repeats, loads = 0.2, 1, LOADS[-1:]
    else:
        require_idle_machine()
    sentences = load_sentences(SHARED / "data" / "corpus" / "wiki_sentences.txt", limit=20_000, seed=0)
    texts = sentences.dataset["sentence"][:]
    with tempfile.TemporaryDirectory() as place:
        servers = servers_of(arguments.model, Path(place), arguments.infinity, with_int8=not arguments.quick)
        found = compare(servers, loads, texts, seconds, repeats)
    show("Requests", ["load, server", "requests / s", "times infinity", "p99 ms", "errors"], server_rows(found))
    keep("service_peer", {"seconds": seconds, "version": version(arguments.infinity), **found}, arguments.quick)


def servers_of(model: str, folder: Path, peer: Path | None, *, with_int8: bool) -> dict[str, Server]:
    """Return the servers by name, of one encoder."""
    source = packaged_minilm_folder() if model == PACKAGED_MINILM else model  # in a format that the peer reads, too
    command = [sys.executable, "-m", "smoothcse"]
    servers = {OURS: Server([*command, "serve", str(source)], "/healthz")}
    if with_int8:
        target = str(folder / "int8")
        quantised = ["export", str(source), "--format", "openvino", "--quantize", "int8", "-o", target]
        subprocess.run([*command, *quantised], check=True)
        servers[INT8] = Server([*command, "serve", target], "/healthz")
    if peer:
        given = ["v2", "--model-id", str(source), "--url-prefix", "/v1", "--device", "cpu"]
        servers[PEER] = Server([str(peer), *given], "/health")
    return servers


def compare(
    servers: dict[str, Server], loads: Sequence[Load], texts: list[str], seconds: float, repeats: int
) -> dict[str, Any]:
    """Return the measurements of each load by server, and the lowest cosine to the embeddings of the first."""
    long = [" ".join(texts[first : first + LONG]) for first in range(0, len(texts), LONG)]
    with ExitStack() as stack:
        ready = {way: stack.enter_context(running(one.command, one.health)) for way, one in servers.items()}
        embeddings = {way: embed(url, texts[:COMPARED]) for way, (url, _) in ready.items()}
        for url, _ in ready.values():
            asyncio.run(load(url, texts, 8, seconds))  # warm up
        found = {}
        whole = Budget()
        for number, one in enumerate(loads, start=1):
            points: dict[str, list[dict[str, Any]]] = {way: [] for way in servers}
            for _ in range(repeats):
                for way, (url, process) in ready.items():
                    sent = long if one.long else texts
                    points[way].append(measure(url, process, sent, one.clients, seconds, one.texts))
            found[one.name] = ways_of(points)
            left = whole.spent() / number * (len(loads) - number)
            print(f"load {number} of {len(loads)}, about {left:.0f} s left", file=sys.stderr, flush=True)
    cosines = {way: float(np.vecdot(embeddings[OURS], rows).min()) for way, rows in embeddings.items()}
    return {"lowest_cosine": cosines, "loads": found}


def ways_of(points: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Return the figures of each server under one load, a list with one value per round each."""
    per_second = {way: [one["requests_per_second"] for one in rounds] for way, rounds in points.items()}
    return {
        way: {
            "requests_per_second": per_second[way],
            "ratios": [ours / theirs for ours, theirs in zip(per_second[way], per_second.get(PEER, ()), strict=False)],
            "p50_ms": [one["p50_ms"] for one in rounds],
            "p99_ms": [one["p99_ms"] for one in rounds],
            "errors": sum(one["errors"] for one in rounds),
        }
        for way, rounds in points.items()
    }


def embed(url: str, texts: list[str]) -> NDArray[np.float64]:
    """Return the embeddings of texts, scaled to length 1, ``(n, d)``."""
    answer = httpx.post(f"{url}/v1/embeddings", json={"input": texts}, timeout=60).raise_for_status().json()
    rows = np.array([one["embedding"] for one in answer["data"]])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)  # type: ignore[no-any-return]


def version(peer: Path | None) -> str | None:
    """Return the versions of infinity and torch in the environment of its command."""
    if peer is None:
        return None
    code = "from importlib.metadata import version; print(version('infinity-emb'), version('torch'))"
    command = [str(peer.with_name("python")), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
