"""Limits on requests, and the errors for requests that exceed them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEAD_BYTES = 16 * 1024
"""Maximum bytes of a request's line and headers."""

HEADERS = 100
"""Maximum number of headers of a request."""

HEAD_IS_TOO_LARGE = (
    f"The request line and headers are larger than {HEAD_BYTES} bytes, or there are more than {HEADERS} headers; send "
    "fewer."
)


class Refusal(Exception):
    """A request is answered with an error.

    Args:
        status: HTTP status.
        message: One sentence for the client.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Limits:
    """Limits on each request and on all waiting requests.

    Attributes:
        text_characters: Maximum characters of a text, and of a condition; models truncate long before. Default 20,000.
        texts: Maximum texts per request. Default 2,048, as in OpenAI's API.
        pairs: Maximum pairs of texts per similarity request. Default 65,536.
        body_bytes: Maximum bytes of a request body. Default 8 MiB.
        hits: Maximum hits per search. Default 1,000.
        filter_values: Maximum values per search, in all of its conditions. Default 1,000.
        waiting_texts: Maximum texts that wait for a model, of all requests; further ones get status 429. Default
            4,096.
        file_bytes: Maximum bytes of an uploaded file of a batch. Default 100 MiB.
        stored_bytes: Maximum bytes of all stored files together. Default 10 GiB.
        batch_requests: Maximum requests per batch. Default 50,000, as in OpenAI's API.
        pending_bytes: Maximum bytes of all arriving bodies; further large ones get status 503. Default 256 MiB.
        head_seconds: Maximum seconds for the headers of a request to arrive. Default 10.
        upload_seconds: Maximum seconds for a body to arrive. Default 30.
        download_seconds: Maximum seconds for a client to receive each 64 KiB of an answer. Default 60.
        answer_seconds: Maximum seconds that a request waits for the model. Default 300, as a full queue takes long on
            a CPU.
        requests: Maximum requests answered at once; further ones get status 503. Default 256.
        connections: Maximum open connections; a further one replaces one whose client keeps the service waiting. It
            must exceed ``requests``, so that there is such a connection. Default 512.
    """

    text_characters: int = 20_000
    texts: int = 2048
    pairs: int = 65_536
    body_bytes: int = 8 * 2**20
    file_bytes: int = 100 * 2**20
    stored_bytes: int = 10 * 2**30
    batch_requests: int = 50_000
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
        """Refuse requests with no text, too many texts, or texts that are empty or too long.

        Args:
            texts: Texts of the request.
            field: Name of the request's field, for the message.

        Raises:
            Refusal: Status 400 or 413.
        """
        self.check_count(len(texts), field)
        for number, text in enumerate(texts):
            if not text.strip():
                raise Refusal(400, f"{field}: text {number} (from 0) is empty; leave it out.")
            if len(text) > self.text_characters:
                raise Refusal(
                    413,
                    f"{field}: text {number} (from 0) has {len(text)} characters, and the limit is "
                    f"{self.text_characters}; shorten it.",
                )

    def check_count(self, count: int, field: str) -> None:
        """Refuse a number of texts that is 0 or too large, as :meth:`check_texts` does, before they are decoded."""
        if not count:
            raise Refusal(400, f"{field} is empty; give at least one text.")
        if count > self.texts:
            raise Refusal(413, f"{field} has {count} texts, and the limit is {self.texts}; send several requests.")

    def check_pairs(self, first: int, second: int) -> None:
        """Refuse a similarity request with too many pairs."""
        if first * second > self.pairs:
            raise Refusal(
                413, f"a and b make {first * second} pairs, and the limit is {self.pairs}; send several requests."
            )

    def check_hits(self, count: int) -> None:
        """Refuse a number of hits that is out of range."""
        if not 1 <= count <= self.hits:
            raise Refusal(400, f"k is {count} and must lie between 1 and {self.hits}.")

    def check_filter(self, where: Mapping[str, Any] | str | None) -> None:
        """Refuse a filter with too many values, or a condition that is too long."""
        if isinstance(where, str):
            if len(where) > self.text_characters:
                raise Refusal(
                    413, f"where has {len(where)} characters, and the limit is {self.text_characters}; shorten it."
                )
            return
        values = sum(len(value) if isinstance(value, list | dict) else 1 for value in (where or {}).values())
        if values > self.filter_values:
            raise Refusal(413, f"where has {values} values, and the limit is {self.filter_values}; give fewer.")
