"""HTTP connections that tolerate slow, silent and numerous clients.

uvicorn waits for the headers of a request without limit, counts such connections towards its own limit, and answers
malformed requests in plain text. Here, clients have a limited time to send and receive, a new connection replaces one
whose client keeps the service waiting, and every refusal has the JSON form of all other errors.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from smoothcse.service.error_answers import error_answer
from smoothcse.service.limits import HEAD_BYTES, HEAD_IS_TOO_LARGE, Limits

_BACKLOG = 128  # asyncio accepts this many at once; with 2,048, a flood would use up all file descriptors
_UNREADABLE = {
    431: HEAD_IS_TOO_LARGE,
    501: "This transfer encoding is not supported; send a Content-Length, or 'Transfer-Encoding: chunked'.",
}


def make_server(app: Any, limits: Limits, **options: Any) -> uvicorn.Server:
    """Return an HTTP server that enforces the limits.

    Args:
        app: ASGI application.
        limits: Limits on connections.
        options: Further options of :class:`uvicorn.Config`.
    """
    config = uvicorn.Config(
        app,
        http=partial(Connection, limits),  # type: ignore[arg-type]
        ws="none",
        h11_max_incomplete_event_size=HEAD_BYTES,
        backlog=_BACKLOG,
        **{"log_level": "error", "access_log": False, "server_header": False, **options},
    )
    return uvicorn.Server(config)


class Connection(H11Protocol):
    """A connection whose client has a limited time to send and receive.

    Args:
        limits: Limits on connections.
        arguments: Arguments from uvicorn.
    """

    def __init__(self, limits: Limits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self.since = self.loop.time()  # when the client's turn to send a request began
        self._head_timer: asyncio.TimerHandle | None = None
        self._sending_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Open the connection; if there are too many, close another one."""
        super().connection_made(transport)
        self._expect_head()
        if len(self.connections) > self._limits.connections:
            _give_way(self.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up a closed connection."""
        for timer in (self._head_timer, self._sending_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._expect_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to receive what was sent."""
        super().pause_writing()
        self._expect_sent()

    def resume_writing(self) -> None:
        """Continue sending."""
        super().resume_writing()
        if self._sending_timer is not None and not self.transport.is_closing():
            self._sending_timer.cancel()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        self._hang_up()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request; uvicorn calls this when it handles h11's error."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        self._refuse(status, _UNREADABLE.get(status, "This is not a valid HTTP/1.1 request."))

    def _should_upgrade(self) -> bool:
        return False  # a server may ignore upgrade requests; uvicorn would log each of them

    @property
    def waits_for_client(self) -> bool:
        """Whether the service waits for the client to send a request or to receive an answer."""
        return self._waits_for_head or self.cycle.more_body or bool(self.transport.get_write_buffer_size())

    @property
    def _waits_for_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _is_silent(self) -> bool:
        """Whether nothing of a next request has arrived."""
        return self._waits_for_head and not self.conn.trailing_data[0]

    def give_way(self) -> None:
        """Close in favour of another connection."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        elif self._is_silent:
            self._hang_up()
        else:
            self._refuse(503, "Too many connections are open; try again in a moment.")

    def _expect_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self.since = self.loop.time()
        self._head_timer = self.loop.call_later(self._limits.head_seconds, self._head_is_late)

    def _head_is_late(self) -> None:
        if self._is_silent:
            self._hang_up()
        elif self._waits_for_head:
            self._refuse(408, f"The headers did not arrive within {self._limits.head_seconds:g} seconds.")

    def _expect_sent(self) -> None:
        if self._sending_timer is not None:
            self._sending_timer.cancel()
        self._sending_timer = self.loop.call_later(self._limits.download_seconds, self.transport.abort)

    def _refuse(self, status: int, message: str) -> None:
        """Answer with an error, unless an answer has begun, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.transport.is_closing():
            answer = error_answer(status, message)
            headers = [*answer.raw_headers, (b"connection", b"close")]
            body = h11.Data(data=bytes(answer.body))
            for event in (h11.Response(status_code=status, headers=headers), body, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:
            self.cycle.disconnected = True  # an application that still waits for a body must not answer any more
        self._hang_up()

    def _hang_up(self) -> None:
        """Close once the client has received what was sent."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._expect_sent()


def _give_way(connections: set[Any]) -> None:
    """Close a connection whose client keeps the service waiting: the oldest one of the client with most of them."""
    waiting = [one for one in connections if isinstance(one, Connection) and one.waits_for_client]
    held = Counter(one.client and one.client[0] for one in waiting)
    if waiting:
        max(waiting, key=lambda one: (held[one.client and one.client[0]], -one.since)).give_way()
