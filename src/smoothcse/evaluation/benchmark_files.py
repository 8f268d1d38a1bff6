"""Reading of benchmark files, with errors that name file and line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from smoothcse._utils.paths import local_path
from smoothcse.errors import SmoothCSEError, some_of

LARGEST_FILE = 256 << 20
"""Maximum bytes of a benchmark file, which is read whole; the largest one in use, SST2's, has 4 million."""


def find_files(folder: Path | str, needed: Iterable[str]) -> dict[str, Path]:
    """Locate files in a folder laid out like SentEval's ``data/downstream``, with or without its ``STS`` level.

    Args:
        folder: Data folder.
        needed: Relative paths, e.g. ``"STS12-en-test/STS.gs.MSRpar.txt"``.

    Returns:
        Location of each file by its relative path.

    Raises:
        SmoothCSEError: If files are missing; the message names the first ones and their number.
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
    r"""Read the lines of a text file, without line endings.

    Only ``\n`` and ``\r\n`` end a line: the other separators of ``str.splitlines`` may occur within a sentence.

    Args:
        path: Text file.
        encoding: Encoding of the file.

    Raises:
        SmoothCSEError: If the file is too large, cannot be read, or has another encoding.
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
        line: Line of the file.
        minimum: Required number of columns; more are allowed.
        place: File and line, for the message.

    Raises:
        SmoothCSEError: If there are too few columns.
    """
    columns = line.split("\t")
    if len(columns) < minimum:
        raise SmoothCSEError(
            f"{place}: {minimum} tab-separated columns are needed and there are {len(columns)}; "
            "fix the line, or download the original file again."
        )
    return columns


def single_spaced(text: str) -> str:
    """Join the words of a text by single spaces, as SentEval does before encoding."""
    return " ".join(text.split())


def _first_file(*candidates: Path) -> Path | None:
    return next((path for path in candidates if path.is_file()), None)
