"""JSON objects in files that may be damaged, huge or not ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smoothcse.errors import SmoothCSEError

_LARGEST_FILE = 256 << 20  # bytes; a metrics.jsonl of a million entries is about that large


def read_object(file: Path, what: str) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        file: File to read.
        what: Description of the file for messages, such as ``the record of a run``.

    Raises:
        SmoothCSEError: If the file is missing, too large, not JSON, or not an object.
    """
    return parse_object(str(file), read_text(file, what), what)


def parse_object(place: str, text: str, what: str) -> dict[str, Any]:
    """Parse one JSON object.

    Args:
        place: File, or file and line, for the message.
        text: Text to parse.
        what: Description of the file for messages, such as ``the record of a run``.

    Raises:
        SmoothCSEError: If the text is not a JSON object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SmoothCSEError(f"{place} cannot be read as {what}: {error}.") from error
    if not isinstance(found, dict):
        raise SmoothCSEError(f"{place} cannot be read as {what}: it is not a JSON object.")
    return found


def read_text(file: Path, what: str) -> str:
    """Read a UTF-8 text file of at most 256 MB.

    Raises:
        SmoothCSEError: If the file is missing, too large, or not UTF-8.
    """
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise SmoothCSEError(f"{file} is larger than {_LARGEST_FILE >> 20} MB, too large for {what}.")
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SmoothCSEError(f"{file} cannot be read as {what}: {error}.") from error
