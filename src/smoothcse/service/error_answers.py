"""Error answers: always ``{"error": {"message", "type"}}``, with one sentence as the message."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from smoothcse.errors import SmoothCSEError
from smoothcse.service.limits import Refusal
from smoothcse.service.schemas import FORMS, UNUSABLE

_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}, 503: {"Retry-After": "5"}}
_LONGEST = 600  # maximum characters of a message, which may quote what a client sent


def error_answer(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the answer for an error.

    Args:
        status: HTTP status.
        message: Message for the client.
        headers: Headers of the answer. Default: those that the status requires.
    """
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    short = message if len(message) <= _LONGEST else message[:_LONGEST] + " …"
    return JSONResponse({"error": {"message": short, "type": kind}}, status, headers or _HEADERS.get(status))


def add_error_handlers(app: FastAPI) -> None:
    """Make an application answer all of its errors in this form."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        return error_answer(error.status, error.message)

    @app.exception_handler(SmoothCSEError)
    async def mistaken(request: Request, error: SmoothCSEError) -> JSONResponse:
        return error_answer(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return error_answer(*what_is_invalid(error.errors()[0]))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        place = f"{request.method} {request.url.path}"
        message = {
            400: f"The body cannot be read: {str(error.detail).rstrip('.')}.",
            404: f"There is nothing at {place}; see /docs for the endpoints.",
            405: f"There is no {place}; see /docs for the methods of each endpoint.",
        }.get(error.status_code, str(error.detail))
        headers = dict(error.headers) if error.headers else None
        return error_answer(error.status_code, message, headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return error_answer(500, "Internal error; see the log of the service.")


def what_is_invalid(error: dict[str, Any]) -> tuple[int, str]:
    """Return status and message for an error that pydantic found."""
    kind, place = error["type"], tuple(part for part in error["loc"] if part not in FORMS)
    if kind == "json_invalid":
        return 400, f"The body is not JSON: {error['ctx']['error']} at character {place[-1]}."
    if kind == UNUSABLE:
        return 400, str(error["msg"])
    if place == ("body",):
        return 422, "The body must be a JSON object, sent with the header 'Content-Type: application/json'."
    field = ".".join(str(part) for part in place[1:])
    if kind == "missing":
        return 422, f"The field {field!r} is missing."
    if kind == "extra_forbidden":
        return 422, f"There is no field {field!r}."
    return 422, f"{field}: {error['msg']}."
