"""``index.json``: what an index has to say of itself before it is read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from smoothcse._utils.atomic import write_whole
from smoothcse.errors import SmoothCSEError, first_line

Codes = Literal["pq", "int8", "binary"]
"""How an approximate search keeps vectors in memory: product quantisation, a byte or a bit for each dimension."""


@dataclass(frozen=True)
class Record:
    """How an index was made.

    Attributes:
        model: path or hub name.
        pooling: in place of the model's own.
        fingerprint: of the model, see :func:`~smoothcse.encoders.fingerprint.fingerprint`.
        codes: of an approximate search.
        unfinished: Where the documents come from of each change that has begun and not ended.
    """

    model: str
    pooling: str | None
    fingerprint: str
    codes: Codes
    unfinished: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read the record of an index.

        Raises:
            SmoothCSEError: if the folder holds no index, or its record is damaged.
        """
        file = folder / "index.json"
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            names = found.get("unfinished", [])  # records of former versions have none
            if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
                raise TypeError("'unfinished' must be a list of texts")
            record = cls(found["model"], found["pooling"], found["fingerprint"], found["codes"], tuple(names))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SmoothCSEError(
                f"{folder} holds no index; make one with: smoothcse index MODEL DOCUMENTS -o {folder}"
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SmoothCSEError(f"{file} cannot be read as the record of an index: {error}.") from error
        check_codes(record.codes)
        return record

    def write(self, folder: Path) -> None:
        """Write the record, whole or not at all.

        Raises:
            SmoothCSEError: if the disk refuses.
        """
        try:
            write_whole(folder / "index.json", json.dumps(asdict(self) | {"format": 1}, indent=2) + "\n")
        except OSError as error:
            raise SmoothCSEError(
                f"The record of the index {folder} could not be written: {first_line(error)}"
            ) from error


def choose_codes(codes: Codes | None, dimensions: int) -> Codes:
    """Return the codes that an index is to have.

    Args:
        codes: that are asked for; None for those that found most in least time (docs/performance.md): a bit for each
            dimension, or a byte where a bit cannot be had.
        dimensions: of the vectors.

    Raises:
        SmoothCSEError: for codes that there are not, or not for so many dimensions.
    """
    whole = dimensions % 8 == 0  # LanceDB packs bits into bytes and leaves none over
    if codes is None:
        return "binary" if whole else "int8"
    check_codes(codes)
    if codes == "binary" and not whole:
        raise SmoothCSEError(
            f"A bit for each dimension takes a multiple of 8 dimensions, not {dimensions}; take int8."
        )
    return codes


def check_codes(codes: str) -> None:
    """Raise :class:`SmoothCSEError` for codes that there are not."""
    if codes not in get_args(Codes):
        raise SmoothCSEError(f"There are no codes {codes!r}; choose one of {', '.join(get_args(Codes))}.")
