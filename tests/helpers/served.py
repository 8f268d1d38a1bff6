"""Run a service in this process, on a free port of the loopback interface."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

from smoothcse.service.connection import make_server
from smoothcse.service.limits import Limits


@contextmanager
def listening(app, limits=None, **options):
    """Serve an application as ``smoothcse serve`` does, and yield its address."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.bind(("127.0.0.1", 0))
    server = make_server(app, limits or Limits(), log_level="critical", **options)
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


def until(condition, seconds=30):
    """Wait until a condition holds; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds} s"
        time.sleep(0.005)
