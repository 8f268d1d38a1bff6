"""What a request may ask for, and what it is told when it asks for more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEAD_BYTES = 16 * 1024
"""Bytes of a request's line and headers, at most."""

HEADERS = 100
"""Headers of a request, at most."""

HEAD_IS_TOO_LARGE = (
    f"The headers are larger than {HEAD_BYTES} bytes, with the request line, or more than {HEADERS}; send fewer."
)


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        message: one sentence for whoever sent it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Limits:
    """Bounds on each request and on all that wait.

    Attributes:
        text_characters: of one text. Default 20,000; models cut long before.
        texts: of one request. Default 2,048, as OpenAI's API has it.
        pairs: of texts, of one request for similarities. Default 65,536.
        body_bytes: of one request. Default 8 MiB.
        hits: of one search. Default 1,000.
        filter_values: of one search, in all of its conditions. Default 1,000.
        waiting_texts: of all requests that wait for a model; more are answered with 429. Default 4,096.
        pending_bytes: of all bodies that are arriving; more large ones are answered with 503. Default 256 MiB.
        head_seconds: Seconds that the headers of a request may take to arrive. Default 10.
        upload_seconds: that a body may take to arrive. Default 30.
        download_seconds: Seconds that a client may take for each 64 KiB of an answer. Default 60.
        answer_seconds: that a request may wait for the model. Default 300: a full queue takes its time on a CPU.
        requests: Requests that are answered at once; more are answered with 503. Default 256.
        connections: Connections open at once; a further one takes the place of one whose client keeps the service
            waiting. More than ``requests``, so that there is one. Default 512.
    """

    text_characters: int = 20_000
    texts: int = 2048
    pairs: int = 65_536
    body_bytes: int = 8 * 2**20
    hits: int = 1000
    filter_values: int = 1000
    waiting_texts: int = 4096
    pending_bytes: int = 256 * 2**20
    head_seconds: float = 10.0
    upload_seconds: float = 30.0
    download_seconds: float = 60.0
    answer_seconds: float = 300.0
    requests: int = 256
    connections: int = 512

    def check_texts(self, texts: Sequence[str], field: str) -> None:
        """Refuse no text, too many, and ones that are empty or too long.

        Args:
            texts: of the request.
            field: that they came in, for the message.

        Raises:
            Refusal: with status 400 or 413.
        """
        if not texts:
            raise Refusal(400, f"{field} is empty; give at least one text.")
        if len(texts) > self.texts:
            raise Refusal(413, f"{field} has {len(texts)} texts and may have {self.texts}; send several requests.")
        for number, text in enumerate(texts):
            if not text.strip():
                raise Refusal(400, f"{field}: text {number} (from 0) is empty; leave it out.")
            if len(text) > self.text_characters:
                raise Refusal(
                    413,
                    f"{field}: text {number} (from 0) has {len(text)} characters and may have {self.text_characters}; "
                    "cut it.",
                )

    def check_pairs(self, first: int, second: int) -> None:
        """Refuse a table of similarities with too many cells."""
        if first * second > self.pairs:
            raise Refusal(
                413, f"a and b make {first * second} pairs and may make {self.pairs}; send several requests."
            )

    def check_hits(self, count: int) -> None:
        """Refuse a number of hits out of range."""
        if not 1 <= count <= self.hits:
            raise Refusal(400, f"k is {count} and must lie between 1 and {self.hits}.")

    def check_filter(self, where: Mapping[str, Any] | None) -> None:
        """Refuse a filter with too many values."""
        values = sum(len(value) if isinstance(value, list | dict) else 1 for value in (where or {}).values())
        if values > self.filter_values:
            raise Refusal(413, f"where has {values} values and may have {self.filter_values}; name fewer.")
