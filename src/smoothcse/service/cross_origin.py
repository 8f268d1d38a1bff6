"""Web pages of other origins that may use the service (CORS)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from smoothcse.errors import SmoothCSEError

_ORIGIN = re.compile(r"https?://[^\s/?#@*]+")


def check_origins(origins: Sequence[str], *, authenticated: bool) -> None:
    """Refuse origins that no browser sends, and all origins for a service without authentication.

    Args:
        origins: Origins of web pages, such as ``https://example.org``; ``*`` for all.
        authenticated: Whether requests must send a token.

    Raises:
        SmoothCSEError: If an origin cannot be used.
    """
    for origin in origins:
        if origin == "*" and not authenticated:
            raise SmoothCSEError(
                "--allow-origin '*' would let every website that you visit read from this service. Set "
                "SMOOTHCSE_TOKEN, or name the origins."
            )
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise SmoothCSEError(
                f"--allow-origin {origin!r} is not an origin; give scheme and host without a path, such as "
                "https://example.org or http://localhost:3000."
            )


def allow_origins(app: FastAPI, origins: Sequence[str]) -> None:
    """Let web pages of some origins use an application; their preflight requests need no token.

    Args:
        app: Application whose other middleware has been added.
        origins: Checked origins.
    """
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
