"""Whole rows of a file, each with the place that messages name."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from smoothcse.corpus.blocks import BLOCK_BYTES, Block, read_blocks
from smoothcse.corpus.formats import SUPPORTED, TextFile, is_supported
from smoothcse.corpus.parquet import parquet_batches
from smoothcse.errors import SmoothCSEError

Record = dict[str, Any]
Records = Iterator[tuple[str, Record]]

MOST_COLUMNS = 10_000
"""Columns of a table; more are a sign of a file that is none, and each takes memory."""

_PARQUET_ROWS = 4096


def read_records(file: TextFile) -> Records:
    """Read a file row by row, with all its fields; a line of plain text is the field ``text``.

    Returns:
        An iterator of ``(place, fields)``, the place such as ``docs.jsonl:7``.

    Raises:
        SmoothCSEError: at the first row that cannot be read.
    """
    if not is_supported(file.path.name):
        raise SmoothCSEError(f"{file.label} has no format that can be read; known are {SUPPORTED}.")
    blocks = read_blocks(file, BLOCK_BYTES) if file.format != ".parquet" else iter(())
    return {
        ".txt": lambda: _text_records(file, blocks),
        ".jsonl": lambda: _json_records(file, blocks),
        ".csv": lambda: _delimited_records(file, blocks),
        ".tsv": lambda: _delimited_records(file, blocks),
        ".parquet": lambda: _parquet_records(file),
    }[file.format]()


def _text_records(file: TextFile, blocks: Iterator[Block]) -> Records:
    return ((f"{file.label}:{number}", {"text": line.strip()}) for number, line in numbered_lines(blocks))


def _json_records(file: TextFile, blocks: Iterator[Block]) -> Records:
    for number, line in numbered_lines(blocks):
        if line.strip():
            yield (place := f"{file.label}:{number}"), parse_record(place, line)


def _delimited_records(file: TextFile, blocks: Iterator[Block]) -> Records:
    rows = delimited_rows(file, blocks)
    _, header = next(rows)
    return ((f"{file.label}:{number}", dict(zip(header, row, strict=True))) for number, row in rows if row)


def numbered_lines(blocks: Iterator[Block]) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, counted from 1."""
    for block in blocks:
        yield from enumerate(block.text.split("\n"), start=block.first_line)


def _each_once(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(name for name in record if names.count(name) > 1)!r} is given twice")
    return record


_DECODER = json.JSONDecoder(object_pairs_hook=_each_once)


def parse_record(place: str, line: str) -> Record:
    """Parse one line of a .jsonl file.

    Raises:
        SmoothCSEError: if it is no JSON object.
    """
    try:
        record = _DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise SmoothCSEError(f"{place} is not valid JSON ({error}): write one JSON object on each line.") from error
    if not isinstance(record, dict):
        raise SmoothCSEError(f'{place} is not a JSON object: write lines such as {{"sentence": "..."}}.')
    return record


def delimited_rows(file: TextFile, blocks: Iterator[Block]) -> Iterator[tuple[int, list[str]]]:
    """Yield the header of a .csv or .tsv file, then its rows, each with the number of its last line.

    An empty line is an empty row, wherever it stands.

    Raises:
        SmoothCSEError: at the first row that is not valid or has another number of fields than the header.
    """
    lines = (f"{line}\n" for _, line in numbered_lines(blocks))
    # Quotes wrap fields in .csv; in .tsv they are part of the text, as every STS and GLUE file has them.
    reader = (
        csv.reader(lines, strict=True)
        if file.format == ".csv"
        else csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    )
    try:
        header = next(filter(None, reader), [])
        _check_header(f"{file.label}:{reader.line_num}", header)
        yield reader.line_num, header
        for row in reader:
            if row and len(row) != len(header):
                raise SmoothCSEError(
                    f"{file.label}:{reader.line_num} has {len(row)} fields, the header {len(header)}: "
                    "quote the fields that hold a separator, or mend the line."
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise SmoothCSEError(
            f"{file.label}:{reader.line_num} is not valid {file.format[1:].upper()} ({error}): "
            "look for a quote that is never closed; quotes inside a quoted field are doubled."
        ) from error


def _check_header(place: str, header: list[str]) -> None:
    if len(header) > MOST_COLUMNS:
        raise SmoothCSEError(
            f"{place} has {len(header):,} columns, more than the {MOST_COLUMNS:,} that are read: check the separator, "
            "or keep the columns that are needed."
        )
    named = filter(None, header)  # spreadsheets write separators behind the last column
    for name, count in Counter(named).most_common(1):
        if count > 1:
            raise SmoothCSEError(f"{place} has {count} columns called {name!r}: rename them.")


def _parquet_records(file: TextFile) -> Records:
    number = 0
    for batch in parquet_batches(file, _PARQUET_ROWS):
        for record in batch.to_pylist():
            number += 1
            yield f"{file.label}, row {number}", record
