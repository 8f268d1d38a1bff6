"""Lines of a batch's input, and of its output."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smoothcse.service.batch_schemas import BatchError
from smoothcse.service.limits import Limits

_MOST_ERRORS = 20


@dataclass(frozen=True)
class BatchLine:
    """A request of a batch.

    Attributes:
        custom_id: Name that the client gave it.
        body: Body as an endpoint would receive it.
    """

    custom_id: str
    body: Any


def check_lines(file: Path, endpoint: str, limits: Limits) -> tuple[int, list[BatchError]]:
    """Return the number of requests in a file, and what is wrong with its lines, the first errors.

    Args:
        file: JSON lines.
        endpoint: Endpoint of all requests.
        limits: Limits on the number of requests, and on the size of each.
    """
    errors: list[BatchError] = []
    seen: set[str] = set()
    count = 0
    for count, (number, line) in enumerate(_lines(file), 1):
        if problem := _problem(line, endpoint, seen, limits.body_bytes):
            errors.append(BatchError(code="invalid_line", message=problem, line=number))
        if count > limits.batch_requests:
            problem = f"The limit is {limits.batch_requests} requests per batch; split the file."
            errors.append(BatchError(code="too_many_requests", message=problem, line=number))
        if len(errors) >= _MOST_ERRORS or count > limits.batch_requests:
            break
    if not count:
        errors.append(BatchError(code="empty_file", message="The file has no requests."))
    return count, errors


def read_lines(file: Path) -> Iterator[BatchLine]:
    """Yield the requests of a checked file."""
    for _, line in _lines(file):
        found = json.loads(line)
        yield BatchLine(found["custom_id"], found["body"])


def answered(part: Path) -> set[str]:
    """Return the ids of the requests in a file of answers; a line that a kill has cut off is removed."""
    if not part.is_file():
        return set()
    whole = 0
    found = set()
    with part.open("r+b") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            found.add(json.loads(line)["custom_id"])
        lines.truncate(whole)
    return found


def answer_line(custom_id: str, status: int, body: bytes) -> bytes:
    """Return a line of the output.

    Args:
        custom_id: Id of the request.
        status: HTTP status.
        body: Body of the answer, JSON.
    """
    name = uuid.uuid4().hex
    response = b'{"status_code":%d,"request_id":"req_%b","body":%b}' % (status, name.encode(), body)
    return b'{"id":"batch_req_%b","custom_id":%b,"response":%b,"error":null}\n' % (
        name.encode(),
        json.dumps(custom_id).encode(),
        response,
    )


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers in the file."""
    with file.open("rb") as lines:
        yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _problem(line: bytes, endpoint: str, seen: set[str], longest: int) -> str | None:
    if len(line) > longest:
        return f"The line is larger than {longest} bytes; divide the request."
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return "The line is not a JSON object."
    if not isinstance(found, dict) or not isinstance(found.get("body"), dict):
        return "The line must be an object with custom_id, method, url and body, an object."
    name = found.get("custom_id")
    if not isinstance(name, str) or not name or name in seen:
        return "custom_id must be a text that no other line has."
    seen.add(name)
    if (found.get("method"), found.get("url")) != ("POST", endpoint):
        return f"method and url must be POST and {endpoint}, the endpoint of the batch."
    return None
