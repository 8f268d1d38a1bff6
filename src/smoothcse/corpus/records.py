"""Reading of whole records, all columns included, with their place in the file for messages."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from smoothcse.corpus.blocks import BLOCK_BYTES, LONGEST_LINE, Block, read_blocks
from smoothcse.corpus.formats import SUPPORTED, TextFile, is_supported
from smoothcse.corpus.parquet import parquet_batches
from smoothcse.errors import SmoothCSEError

Fields = dict[str, Any]
"""Fields of one record by name."""

PlacedFields = Iterator[tuple[str, Fields]]
"""Fields of each record, after its place in the file, such as ``docs.jsonl:7``."""

MOST_COLUMNS = 10_000
"""Maximum columns of a table. More suggest that the file is not a table, and each column takes memory."""

_PARQUET_ROWS = 4096


def read_records(file: TextFile) -> PlacedFields:
    """Read a file record by record, with all its fields. A line of plain text becomes the field ``text``.

    Args:
        file: File in a supported format.

    Returns:
        Iterator of ``(place, fields)`` with a place such as ``docs.jsonl:7``.

    Raises:
        SmoothCSEError: If a record cannot be read, or the format is not supported.
    """
    if not is_supported(file.path.name):
        raise SmoothCSEError(f"{file.label} has an unsupported format; supported are {SUPPORTED}.")
    blocks = read_blocks(file, BLOCK_BYTES) if file.format != ".parquet" else iter(())
    return {
        ".txt": lambda: _text_records(file, blocks),
        ".jsonl": lambda: _json_records(file, blocks),
        ".csv": lambda: _delimited_records(file, blocks),
        ".tsv": lambda: _delimited_records(file, blocks),
        ".parquet": lambda: _parquet_records(file),
    }[file.format]()


def _text_records(file: TextFile, blocks: Iterator[Block]) -> PlacedFields:
    return ((f"{file.label}:{number}", {"text": line.strip()}) for number, line in numbered_lines(blocks))


def _json_records(file: TextFile, blocks: Iterator[Block]) -> PlacedFields:
    for number, line in numbered_lines(blocks):
        if line.strip():
            yield (place := f"{file.label}:{number}"), parse_record(place, line)


def _delimited_records(file: TextFile, blocks: Iterator[Block]) -> PlacedFields:
    rows = delimited_rows(file, blocks)
    _, header = next(rows)
    return ((f"{file.label}:{number}", dict(zip(header, row, strict=True))) for number, row in rows if row)


def numbered_lines(blocks: Iterator[Block]) -> Iterator[tuple[int, str]]:
    """Yield each line with its number, counted from 1."""
    for block in blocks:
        yield from enumerate(block.text.split("\n"), start=block.first_line)


def _distinct_fields(pairs: list[tuple[str, Any]]) -> Fields:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(name for name in record if names.count(name) > 1)!r} is given twice")
    return record


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct_fields)


def parse_record(place: str, line: str) -> Fields:
    """Parse one line of a .jsonl file.

    Args:
        place: Place of the line in messages, such as ``docs.jsonl:7``.
        line: Line to parse.

    Raises:
        SmoothCSEError: If the line is not a JSON object, or has a field twice.
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

    An empty line gives an empty row.

    Args:
        file: File in one of the two formats.
        blocks: Blocks of the file.

    Raises:
        SmoothCSEError: If a row is not valid, or does not have as many fields as the header.
    """
    # The limit of the csv module, 131,072 characters, is that of the whole process. It is raised, never lowered.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
    lines = (f"{line}\n" for _, line in numbered_lines(blocks))
    # Quotes delimit fields in .csv. In .tsv they are part of the text, as in all STS and GLUE files.
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
                    "quote the fields that contain a separator, or correct the line."
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
            f"{place} has {len(header):,} columns, and at most {MOST_COLUMNS:,} are supported: check the separator, "
            "or keep only the columns you need."
        )
    named = filter(None, header)  # spreadsheets write separators after the last column
    for name, count in Counter(named).most_common(1):
        if count > 1:
            raise SmoothCSEError(f"{place} has {count} columns called {name!r}: rename them.")


def _parquet_records(file: TextFile) -> PlacedFields:
    number = 0
    for batch in parquet_batches(file, _PARQUET_ROWS):
        for record in batch.to_pylist():
            number += 1
            yield f"{file.label}, row {number}", record
