"""Cancellation of requests whose client has disconnected."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


async def while_present(app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
    """Run an application on a request until it has answered or the client has disconnected.

    After a disconnect, work in a thread is waited for, so that abandoned requests count among those in progress.

    Args:
        app: ASGI application.
        scope: Scope of the request.
        body: Complete body of the request.
        receive: Source of messages; after the body, these only report a disconnect or the end of the answer.
        send: Function that sends the answer.
    """
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    complete = False
    leaving = asyncio.create_task(_disconnect(receive))

    async def receive_again() -> Message:
        return parts.pop() if parts else await asyncio.shield(leaving)

    async def sending(message: Message) -> None:
        nonlocal complete
        complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        await send(message)

    dropping = anyio.CancelScope()

    async def answer() -> None:
        with dropping:  # waits for a thread that has begun, whose slot `Task.cancel` would free while it runs on
            await app(scope, receive_again, sending)

    answering = asyncio.create_task(answer())
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not complete:  # otherwise the end of the answer ended the wait
            dropping.cancel()  # has no effect on a finished task
        with suppress(asyncio.CancelledError):
            await answering
    finally:
        answering.cancel()
        leaving.cancel()


async def _disconnect(receive: Receive) -> Message:
    while (message := await receive())["type"] != "http.disconnect":
        pass
    return message
