"""Reading benchmark files, with errors that say which file and which line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from smoothcse._utils.paths import local_path
from smoothcse.errors import SmoothCSEError, some_of

LARGEST_FILE = 256 << 20
"""Bytes of a benchmark file, which is read whole; the largest in use, SST2's, has 4 million."""


def find_files(folder: Path | str, needed: Iterable[str]) -> dict[str, Path]:
    """Locate files in a folder laid out as SentEval's ``data/downstream``, with or without its ``STS`` level.

    Args:
        folder: the data folder.
        needed: relative paths, e.g. ``"STS12-en-test/STS.gs.MSRpar.txt"``.

    Returns:
        The relative paths with the places where they were found.

    Raises:
        SmoothCSEError: Naming the first files that are missing, and how many are.
    """
    folder = local_path(folder)
    needed = list(needed)
    if not folder.is_dir():
        wrong = "is a file" if folder.exists() else "does not exist"
        holding = f" that holds {some_of(needed, 1)}" if needed else ""
        raise SmoothCSEError(
            f"The data folder {folder} {wrong}; give a folder in SentEval's layout{holding}, or 'hub' to download one."
        )
    found = {name: _first_file(folder / name, folder / "STS" / name) for name in needed}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise SmoothCSEError(
            f"The data folder {folder} lacks {len(missing)} of {len(found)} files that are needed "
            f"({some_of(missing)}); give a complete folder in SentEval's layout, or 'hub' to download one."
        )
    return {name: path for name, path in found.items() if path is not None}


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    r"""Read the lines of a text file, without their ends.

    Only ``\n`` and ``\r\n`` end a line: the other separators that ``str.splitlines`` knows may stand in a
    sentence.

    Raises:
        SmoothCSEError: if the file cannot be read or is not in this encoding.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise SmoothCSEError(f"{path} is larger than {LARGEST_FILE >> 20} MB, which no benchmark file is.")
        content = path.read_bytes()
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SmoothCSEError(
            f"{path}:{line}: this line is not {encoding.upper()}; convert the file, or fetch the original again."
        ) from error
    except OSError as error:
        raise SmoothCSEError(f"{path} cannot be read: {error.strerror}.") from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def split_columns(line: str, minimum: int, place: str) -> list[str]:
    """Split a tab-separated line; quotes are text, since none of these files is quoted CSV.

    Args:
        line: of the file.
        minimum: number of columns that are needed; more are let through.
        place: file and line, for the message.

    Raises:
        SmoothCSEError: if there are too few columns.
    """
    columns = line.split("\t")
    if len(columns) < minimum:
        raise SmoothCSEError(
            f"{place}: {minimum} tab-separated columns are needed and there are {len(columns)}; "
            "mend the line, or fetch the original file again."
        )
    return columns


def single_spaced(text: str) -> str:
    """Join the words of a text by single spaces, as SentEval hands sentences to a model."""
    return " ".join(text.split())


def _first_file(*candidates: Path) -> Path | None:
    return next((path for path in candidates if path.is_file()), None)
