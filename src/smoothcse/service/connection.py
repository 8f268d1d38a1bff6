"""Connections of clients that are slow, silent or many.

uvicorn waits for the head of a request for as long as the client likes, counts such connections towards its limit, and
answers what it cannot read in plain text. Here a client has a bounded time for its part, a new connection takes the
place of one whose client keeps the service waiting, and every refusal has the shape of the other errors.
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

_BACKLOG = 128  # asyncio accepts as many at once: with 2,048, a flood would take all file descriptors
_UNREADABLE = {
    431: HEAD_IS_TOO_LARGE,
    501: "This transfer encoding is not supported; send a Content-Length, or 'Transfer-Encoding: chunked'.",
}


def make_server(app: Any, limits: Limits, **options: Any) -> uvicorn.Server:
    """Return an HTTP server that keeps to the limits.

    Args:
        app: ASGI application.
        limits: Bounds on connections.
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
    """A connection whose client has a bounded time for its part.

    Args:
        limits: Bounds on connections.
        arguments: As uvicorn gives them.
    """

    def __init__(self, limits: Limits, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self.since = self.loop.time()  # when the client's turn to send a request began
        self._head_timer: asyncio.TimerHandle | None = None
        self._sending_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, in place of another connection if there are too many."""
        super().connection_made(transport)
        self._expect_head()
        if len(self.connections) > self._limits.connections:
            _give_way(self.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        for timer in (self._head_timer, self._sending_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._expect_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to take what was sent."""
        super().pause_writing()
        self._expect_sent()

    def resume_writing(self) -> None:
        """Go on sending."""
        super().resume_writing()
        if self._sending_timer is not None and not self.transport.is_closing():
            self._sending_timer.cancel()

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that was not used again."""
        self._hang_up()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be read; uvicorn calls this where it handles h11's error."""
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        self._refuse(status, _UNREADABLE.get(status, "This is not a request of HTTP/1.1 that can be read."))

    def _should_upgrade(self) -> bool:
        return False  # a server may ignore the wish; uvicorn would log it each time

    @property
    def waits_for_client(self) -> bool:
        """Whether it is the client's turn: to send a request, or to take an answer."""
        return self._waits_for_head or self.cycle.more_body or bool(self.transport.get_write_buffer_size())

    @property
    def _waits_for_head(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _is_silent(self) -> bool:
        """Whether nothing of a next request has come."""
        return self._waits_for_head and not self.conn.trailing_data[0]

    def give_way(self) -> None:
        """End, for another connection."""
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
        """Answer, unless an answer has begun, and hang up."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE) and not self.transport.is_closing():
            answer = error_answer(status, message)
            headers = [*answer.raw_headers, (b"connection", b"close")]
            body = h11.Data(data=bytes(answer.body))
            for event in (h11.Response(status_code=status, headers=headers), body, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None:
            self.cycle.disconnected = True  # the application, if it still waits for a body, answers no more
        self._hang_up()

    def _hang_up(self) -> None:
        """End once the client has taken what was sent."""
        self.transport.close()
        if self.transport.get_write_buffer_size():
            self._expect_sent()


def _give_way(connections: set[Any]) -> None:
    """End a connection whose client keeps the service waiting: of the client that has most of them, the oldest."""
    waiting = [one for one in connections if isinstance(one, Connection) and one.waits_for_client]
    held = Counter(one.client and one.client[0] for one in waiting)
    if waiting:
        max(waiting, key=lambda one: (held[one.client and one.client[0]], -one.since)).give_way()
