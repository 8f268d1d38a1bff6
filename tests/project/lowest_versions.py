"""Print pip constraints with the lowest version of each direct dependency that pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def lowest(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        found = re.match(r"([\w.-]+)(?:\[[^]]*\])?>=([\w.]+)", requirement)
        if found:
            yield f"{found[1]}=={found[2]}"


if __name__ == "__main__":
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    print("\n".join(lowest([*project["dependencies"], *extras["documents"], *extras["plots"], *extras["demo"]])))
