"""What a request must pass before it reaches an endpoint, and the headers that every answer carries."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from smoothcse.service.errors import error_answer
from smoothcse.service.limits import Limits, Refusal

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
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Gate:
    """ASGI middleware in front of everything.

    Args:
        app: behind it.
        limits: of the body's size and time.
        token: that requests must bear, or None.
        open_paths: that need no token: the page, its documentation, the health check.
        hosts: that requests may be addressed to, or None for any. A page of a stranger's that has its name point at
            this machine (DNS rebinding) could else read from a service that trusts all local requests.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        token: str | None,
        open_paths: Collection[str],
        hosts: Collection[str] | None,
    ) -> None:
        self.app, self.limits, self.token = app, limits, token
        self.open_paths, self.hosts = open_paths, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope["path"], Headers(scope=scope))
        except Refusal as refusal:
            await error_answer(refusal.status, refusal.message)(scope, receive, sending)
            return
        await self.app(scope, _Body(receive, self.limits).receive, sending)

    def _check(self, path: str, headers: Mapping[str, str]) -> None:
        host = headers.get("host", "").lower()
        if self.hosts is not None and host not in self.hosts and host.rpartition(":")[0] not in self.hosts:
            raise Refusal(421, f"This service answers to {', '.join(self.hosts)} alone, not to {host!r}.")
        if self.token is not None and path not in self.open_paths and not self._has_token(headers):
            raise Refusal(401, "This service wants a token: send the header 'Authorization: Bearer TOKEN'.")
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:20]) > self.limits.body_bytes:
            raise Refusal(413, _too_large(self.limits))

    def _has_token(self, headers: Mapping[str, str]) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and secrets.compare_digest(
            given.strip().encode(), (self.token or "").encode()
        )


class _Body:
    """The body of a request, which must end in time and within its size."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits = receive, limits
        self._bytes, self._more = 0, True
        self._deadline = asyncio.get_running_loop().time() + limits.upload_seconds

    async def receive(self) -> Message:
        if not self._more:  # what is still to come is only that the client has gone
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(
                408, f"The body did not arrive within {self._limits.upload_seconds:g} seconds."
            ) from error
        self._bytes += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._bytes > self._limits.body_bytes:
            raise HTTPException(413, _too_large(self._limits))
        return message


def _too_large(limits: Limits) -> str:
    return f"The body is larger than {limits.body_bytes} bytes; send several requests."
