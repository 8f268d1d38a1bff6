"""Processes of tests, forked from a server that has imported the heavy libraries once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

from torch.multiprocessing import start_processes

FORKED = multiprocessing.get_context("forkserver")
"""Context of these processes; a fork of the process of the tests, which has trained, can hang.

The server loads nothing that starts threads when it is imported, as lancedb does.
"""

FORKED.set_forkserver_preload(["smoothcse.training.run", "transformers.models.bert.modeling_bert"])


def run_ranks(worker: Callable[..., None], *arguments: object, ranks: int) -> None:
    """Call ``worker(rank, *arguments)`` in a process for each rank, and wait; an error of a rank is raised here."""
    start_processes(worker, arguments, nprocs=ranks, start_method="forkserver")
