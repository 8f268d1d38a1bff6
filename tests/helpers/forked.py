"""Processes of tests, forked from a server that has imported the heavy libraries once."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from torch.multiprocessing import start_processes

from smoothcse.cli import main

FORKED = multiprocessing.get_context("forkserver")
"""Context of these processes; a fork of the process of the tests, which has trained, can hang.

The server loads nothing that starts threads when it is imported, as lancedb does.
"""

FORKED.set_forkserver_preload(
    ["smoothcse.cli.train", "smoothcse.training.run", "transformers.models.bert.modeling_bert"]
)


def start_command(*arguments: object, said: Path, before: Callable[[], object] | None = None) -> BaseProcess:
    """Start a command of ``smoothcse`` as a process of its own, in this process's environment.

    Args:
        *arguments: Arguments of the command.
        said: File for what the command prints.
        before: What the process does first.
    """
    given = ([*map(str, arguments)], said, dict(os.environ), before)
    process = FORKED.Process(target=_command, args=given, daemon=True)  # it ends with the tests
    process.start()
    return process


def _command(
    arguments: list[str], said: Path, environment: Mapping[str, str], before: Callable[[], object] | None
) -> None:
    with said.open("wb") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.environ.clear()
    os.environ |= environment
    if before:
        before()
    sys.argv = ["smoothcse", *arguments]
    main()


def as_rank(rank: int, world: int, port: int) -> None:
    """Set what torchrun sets for a rank, on the CPU."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "SMOOTHCSE_CPU": "1"}
    os.environ |= {"LOCAL_WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run_ranks(worker: Callable[..., None], *arguments: object, ranks: int) -> None:
    """Call ``worker(rank, *arguments)`` in a process for each rank, and wait; an error of a rank is raised here."""
    start_processes(worker, arguments, nprocs=ranks, start_method="forkserver")
