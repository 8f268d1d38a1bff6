"""Compressed request bodies."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from smoothcse.service.arrival import too_large
from smoothcse.service.limits import Refusal

if TYPE_CHECKING:
    from starlette.types import Scope

_GZIP = ("gzip", "x-gzip")
_GZIP_WINDOW = 31  # zlib: the largest window, within the format of gzip


def check_encoding(headers: Mapping[str, str]) -> None:
    """Refuse a request whose body is compressed in another way than gzip.

    Args:
        headers: Headers of the request.

    Raises:
        Refusal: Status 415.
    """
    encoding = _encoding_of(headers)
    if encoding not in (*_GZIP, "", "identity"):
        raise Refusal(415, f"The content encoding {encoding!r} is not supported; send the body as it is, or as gzip.")


async def decompressed(scope: Scope, body: bytes | None, most: int) -> tuple[Scope, bytes | None]:
    """Return a request with its body decompressed, and without the headers that describe the compressed one.

    Args:
        scope: Scope of the request.
        body: Complete body, or None if the client has disconnected.
        most: Maximum bytes of the decompressed body.

    Raises:
        Refusal: Status 400 if the body is not gzip, 413 if it is too large.
    """
    if body is None or _encoding_of(Headers(scope=scope)) not in _GZIP:
        return scope, body
    kept = [(name, value) for name, value in scope["headers"] if name not in (b"content-encoding", b"content-length")]
    scope["headers"] = kept  # in place: the router will write the route into the scope, where the metrics read it
    return scope, await run_in_threadpool(_unpacked, body, most)


def _encoding_of(headers: Mapping[str, str]) -> str:
    return headers.get("content-encoding", "").strip().lower()


def _unpacked(body: bytes, most: int) -> bytes:
    reader = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        found = reader.decompress(body, most + 1)
    except zlib.error as error:
        raise Refusal(400, "The body is not valid gzip, which its Content-Encoding announces.") from error
    if len(found) > most:
        raise Refusal(413, too_large(most))
    if not reader.eof or reader.unused_data:
        raise Refusal(400, "The body is cut off, or more than one gzip stream.")
    return found
