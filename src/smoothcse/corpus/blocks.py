"""Text files as blocks of whole lines: decompressed, checked and decoded.

A line ends with a line feed, a carriage return, or both. Blocks contain line feeds only.

Errors that any text format can have (encoding, NUL bytes, overlong lines) are detected here, with their line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from smoothcse.corpus.formats import TextFile
from smoothcse.errors import SmoothCSEError, first_line

LINE_FEED = b"\n"
BLOCK_BYTES = 4 << 20
LONGEST_LINE = 10 << 20

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SIGNATURES = {
    b"\x1f\x8b": "gzip data (name it .txt.gz, .jsonl.gz, ...)",
    b"\x28\xb5\x2f\xfd": "Zstandard data (name it .txt.zst, .jsonl.zst, ...)",
    b"PAR1": "a Parquet file (name it .parquet)",
    b"PK\x03\x04": "a zip archive (unpack it first)",
    b"BZh": "bzip2 data (unpack it first)",
    b"\xfd7zXZ": "xz data (unpack it first)",
    b"%PDF-": "a PDF document (extract its text first)",
}


@dataclass(frozen=True)
class Block:
    """Consecutive whole lines.

    Attributes:
        first_line: Number of the first line, counted from 1.
        data: Lines in UTF-8, the last one without its line feed.
        text: Decoded ``data``.
    """

    first_line: int
    data: bytes
    text: str


def read_blocks(file: TextFile, block_bytes: int = BLOCK_BYTES, longest_line: int | None = None) -> Iterator[Block]:
    """Read a file block by block, so that memory does not grow with the file.

    Args:
        file: Text file, compressed or not.
        block_bytes: Bytes to read at once, at most ``longest_line``.
        longest_line: Maximum bytes of a line. Default ``LONGEST_LINE``.

    Yields:
        Blocks of whole lines, in order.

    Raises:
        SmoothCSEError: If the file cannot be opened or decompressed, is not UTF-8, or has a line that is too long.
    """
    longest = longest_line or LONGEST_LINE
    line, rest = 1, b""
    for chunk in _with_line_feeds(_read_chunks(file, block_bytes)):
        data = rest + chunk
        cut = data.rfind(LINE_FEED) + 1
        # Only a line that spans two chunks can be longer than a chunk.
        if (data.find(LINE_FEED) if cut else len(data)) > longest:
            raise SmoothCSEError(
                f"{file.label}:{line} is longer than {longest >> 20} MB: "
                "put one sentence on each line, ended by a line feed."
            )
        rest = data[cut:]
        if cut:
            yield _checked(file, data[: cut - 1], line)
            line += data.count(LINE_FEED, 0, cut)
    if rest:
        yield _checked(file, rest, line)


def _with_line_feeds(chunks: Iterator[bytes]) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        data = held + chunk
        held = b"\r" if data.endswith(b"\r") else b""  # its line feed may be in the next chunk
        yield data.removesuffix(b"\r").replace(b"\r\n", LINE_FEED).replace(b"\r", LINE_FEED)
    if held:
        yield LINE_FEED


def _read_chunks(file: TextFile, size: int) -> Iterator[bytes]:
    try:
        # Opened here, since Arrow takes no names that are not UTF-8.
        with file.path.open("rb") as opened, pa.input_stream(opened, compression=file.compression) as stream:
            chunk = _checked_head(file, stream.read(size))
            while chunk:
                yield chunk
                chunk = stream.read(size)
    except PermissionError as error:
        raise SmoothCSEError(
            f"{file.label} cannot be read: permission denied; change its permissions (chmod u+r) or copy it."
        ) from error
    except (OSError, pa.ArrowInvalid) as error:
        remedy = "download or write it again" if file.compression else "check the disk and the path"
        what = f"is not valid {file.compression} data or is cut short" if file.compression else "cannot be read"
        raise SmoothCSEError(f"{file.label} {what} ({first_line(error).rstrip('.')}): {remedy}.") from error


def _checked_head(file: TextFile, head: bytes) -> bytes:
    """Remove a byte order mark, and refuse known formats that are not UTF-8 text."""
    if head.startswith(_UTF_16_MARKS):
        raise SmoothCSEError(
            f"{file.label} is UTF-16 text: convert it, for example `iconv -f UTF-16 -t UTF-8 OLD > NEW`."
        )
    for signature, what in _SIGNATURES.items():
        if head.startswith(signature):
            raise SmoothCSEError(f"{file.label} is not text but {what}.")
    return head.removeprefix(_BYTE_ORDER_MARK)


def _checked(file: TextFile, data: bytes, line: int) -> Block:
    if (nul := data.find(b"\0")) >= 0:
        raise SmoothCSEError(
            f"{_place(file, line, data, nul)} contains a NUL byte, so this looks like a binary file: "
            "give a text file, or remove these bytes with `tr -d '\\000' < OLD > NEW`."
        )
    try:
        return Block(line, data, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise SmoothCSEError(
            f"{_place(file, line, data, error.start)} is not UTF-8 (byte 0x{data[error.start]:02x}): "
            "convert the file, for example `iconv -f ISO-8859-1 -t UTF-8 OLD > NEW`."
        ) from error


def _place(file: TextFile, first_line: int, data: bytes, position: int) -> str:
    return f"{file.label}:{first_line + data.count(LINE_FEED, 0, position)}"
