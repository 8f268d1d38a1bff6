"""Reception of request bodies, within limits on time and size."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from smoothcse.service.limits import Limits, Refusal

if TYPE_CHECKING:
    from starlette.types import Receive

_SMALL = 64 * 1024  # bytes; smaller bodies do not count as pending, so that large ones cannot block them


class Arrivals:
    """The request bodies that are arriving.

    Args:
        limits: Limits on size, time, and the memory of all bodies together.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pending = 0

    async def whole_body(self, receive: Receive, most: int) -> bytes | None:
        """Receive the body of a request; return None if the client has disconnected.

        Args:
            receive: Source of ASGI messages.
            most: Maximum bytes.

        Raises:
            Refusal: Status 408 if the body takes too long, 413 if it is too large, 503 if too many others are
                arriving.
        """
        body = bytearray()
        held = 0
        try:
            async with asyncio.timeout(self._limits.upload_seconds):
                while (message := await receive())["type"] == "http.request":
                    piece = message.get("body", b"")
                    self._check(len(body) + len(piece), most)
                    body += piece
                    held, self._pending = held + len(piece), self._pending + len(piece)
                    if not message.get("more_body", False):
                        return bytes(body)
                return None
        except TimeoutError as error:
            raise Refusal(408, f"The body did not arrive within {self._limits.upload_seconds:g} seconds.") from error
        finally:
            self._pending -= held

    def _check(self, size: int, most: int) -> None:
        if size > most:
            raise Refusal(413, too_large(most))
        if size > _SMALL and self._pending > self._limits.pending_bytes:
            raise Refusal(503, "Too many large bodies are arriving; try again in a moment, or with fewer texts.")


def too_large(most: int) -> str:
    """Return the message for a body that is larger than so many bytes."""
    return f"The body is larger than {most} bytes; send several requests."
