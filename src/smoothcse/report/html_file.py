"""Pages as files: filling a template, and writing the result."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from smoothcse import __version__
from smoothcse._utils.atomic import require_writable, write_text_atomic
from smoothcse._utils.paths import local_path
from smoothcse.errors import SmoothCSEError

PAGE = "report.html"
"""Default file name."""


def fill_template(name: str, **values: Any) -> str:
    """Return a page as HTML, with all values escaped.

    Args:
        name: Template in this package.
        **values: Values of its variables.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made = f"smoothcse {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return environment.get_template(name).render(**values, made=made)


def check_page(file: str | Path) -> Path:
    """Return the file, after checking that it can be written and replaces nothing but a page.

    Raises:
        SmoothCSEError: If it is a folder, does not end in ``.html``, or cannot be written.
    """
    file = local_path(file)
    if os.path.isdir(file):  # returns False where Path.is_dir raises, e.g. for a name that is too long
        raise SmoothCSEError(f"The output {file} is a folder; give a file name.")
    if file.suffix not in (".html", ".htm"):
        raise SmoothCSEError(f"The output {file} must end in .html.")
    if not os.path.isdir(file.parent):
        raise SmoothCSEError(f"{file} cannot be written: there is no folder {file.parent}; create the folder first.")
    write_page(file, None)
    return file


def write_page(file: Path, text: str | None) -> None:
    """Write the file atomically, or with None as text, check that it can be written.

    Raises:
        SmoothCSEError: If it cannot be written.
    """
    try:
        if text is None:
            require_writable(file)
        else:
            write_text_atomic(file, text)
    except OSError as error:
        raise SmoothCSEError(
            f"The report {file} cannot be written: {error.strerror or error}; give another --output."
        ) from error
