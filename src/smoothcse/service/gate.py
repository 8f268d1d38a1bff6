"""Checks that a request must pass before it reaches an endpoint, and headers of every answer."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from smoothcse.service.arrival import Arrivals, too_large
from smoothcse.service.compression import check_encoding, decompressed
from smoothcse.service.error_answers import error_answer
from smoothcse.service.limits import HEAD_BYTES, HEAD_IS_TOO_LARGE, HEADERS, Limits, Refusal
from smoothcse.service.loopback import is_loopback
from smoothcse.service.presence import while_present

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_PIECE = 64 * 1024
_FILES = "/v1/files"
_READING = ("GET", "HEAD")
ALWAYS_ANSWERED = ("/healthz", "/health", "/metrics")


class Gate:
    """ASGI middleware in front of the application.

    A request reaches the application once its body is complete, and is dropped when its client has disconnected.

    Args:
        app: Application behind the middleware.
        limits: Limits on concurrent requests, and on size and time of the body.
        token: Bearer token that requests must send, or None.
        open_paths: Paths that can be read without a token: the page, the documentation, the health checks.
        local: Whether requests must be addressed to ``localhost`` or a loopback address. Otherwise, a website whose
            name resolves to this machine (DNS rebinding) could read from a service that trusts all local requests.
        uploads: Whether bodies that upload a file may be as large as one.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        token: str | None,
        open_paths: Collection[str],
        local: bool,
        uploads: bool = False,
    ) -> None:
        self.app, self.limits, self.token = app, limits, token
        self.open_paths, self.local = open_paths, local
        self._upload_bytes = limits.file_bytes if uploads else limits.body_bytes
        self._arrivals = Arrivals(limits)
        self._running: set[_Sending] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on to the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sending = _Sending(send, self._running)
        try:
            self._check(scope, Headers(scope=scope))
            most = self._most_bytes(scope)
            body = await self._arrivals.whole_body(receive, most)
            self._check_running(scope["path"])
            scope, body = await decompressed(scope, body, most)
            self._check_running(scope["path"])  # others may have begun meanwhile
        except Refusal as refusal:
            await error_answer(refusal.status, refusal.message)(scope, receive, sending)
            return
        if body is None:
            return
        self._running.add(sending)
        try:
            await while_present(self.app, scope, body, receive, sending)
        finally:
            self._running.discard(sending)

    def _check(self, scope: Scope, headers: Headers) -> None:
        if len(headers) > HEADERS or sum(len(name) + len(value) for name, value in headers.raw) > HEAD_BYTES:
            raise Refusal(431, HEAD_IS_TOO_LARGE)
        host = headers.get("host", "")
        if self.local and not is_loopback(_name_of(host)):
            raise Refusal(421, f"This service answers only to localhost and loopback addresses, not to {host!r}.")
        is_open = scope["path"] in self.open_paths and scope["method"] in _READING
        if self.token is not None and not is_open and not self._has_token(headers):
            raise Refusal(401, "This service requires a token: send the header 'Authorization: Bearer TOKEN'.")
        check_encoding(headers)
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > (most := self._most_bytes(scope)):
            raise Refusal(413, too_large(most))

    def _most_bytes(self, scope: Scope) -> int:
        """Return the maximum size of the body of a request."""
        return self._upload_bytes if scope["path"] == _FILES else self.limits.body_bytes

    def _check_running(self, path: str) -> None:
        if len(self._running) >= self.limits.requests and path not in ALWAYS_ANSWERED:
            raise Refusal(503, f"{len(self._running)} requests are already being answered; try again in a moment.")

    def _has_token(self, headers: Mapping[str, str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(
            given.strip().encode(), (self.token or "").encode()
        )


def _name_of(host: str) -> str:
    """Return the name or address in a Host header, without the port and the brackets around IPv6."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class _Sending:
    """Sends an answer with the common headers, no faster than the client receives it.

    The server buffers what it is given until the client has received it, so a large answer is sent in pieces.

    Args:
        send: Function that sends a message to the server.
        running: Answers that have not begun; this one is removed when it begins.
    """

    def __init__(self, send: Send, running: set[_Sending]) -> None:
        self._send, self._running = send, running

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._running.discard(self)
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        body = message.get("body", b"")
        if len(body) <= _PIECE:
            await self._send(message)
            return
        for start in range(0, len(body), _PIECE):
            more = message.get("more_body", False) or start + _PIECE < len(body)
            await self._send({**message, "body": bytes(body[start : start + _PIECE]), "more_body": more})
