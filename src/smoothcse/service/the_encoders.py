"""The served models as a dependency of the endpoints."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from smoothcse.service.queues import Encoders


async def the_encoders(request: Request) -> Encoders:
    """Return the served models of the application that handles a request.

    This is a coroutine function because FastAPI runs any other in a thread, for which each request would wait.
    """
    found: Encoders = request.app.state.encoders
    return found


TheEncoders = Annotated[Encoders, Depends(the_encoders)]
