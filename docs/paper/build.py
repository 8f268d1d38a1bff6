"""Build the technical report from the committed runs.

python docs/paper/build.py [build/smoothing.pdf]
"""

from __future__ import annotations

import sys
from pathlib import Path

import typst

FOLDER = Path(__file__).resolve().parent


def build(file: Path) -> None:
    """Write the report as a PDF."""
    file.parent.mkdir(parents=True, exist_ok=True)
    typst.compile(FOLDER / "smoothing.typ", output=file, root=FOLDER.parent)


if __name__ == "__main__":
    build(Path(sys.argv[1] if len(sys.argv) > 1 else "build/smoothing.pdf"))
