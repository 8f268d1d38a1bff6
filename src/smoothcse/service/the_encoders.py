"""The served models as a dependency of the endpoints."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from smoothcse.service.queues import Encoders


def the_encoders(request: Request) -> Encoders:
    """Return the served models of the application that handles a request."""
    found: Encoders = request.app.state.encoders
    return found


TheEncoders = Annotated[Encoders, Depends(the_encoders)]
