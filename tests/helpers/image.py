"""The instructions of the Dockerfile."""

from __future__ import annotations

import json
import re
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Return each instruction with what follows it; lines that end in a backslash continue."""
    lines = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines) if name.isupper()]


def only(name: str) -> str:
    """Return what follows the last instruction of a name."""
    return [rest for found, rest in instructions() if found == name][-1]


def command() -> list[str]:
    """Return the command that the container runs: entry point and arguments."""
    return [*json.loads(only("ENTRYPOINT")), *json.loads(only("CMD"))]


def health_check() -> list[str]:
    """Return the command that tells whether the container is healthy."""
    return json.loads(only("HEALTHCHECK").partition("CMD ")[2])


def default_of(argument: str) -> str:
    """Return the default of a build argument."""
    [found] = [rest for name, rest in instructions() if name == "ARG" and rest.startswith(f"{argument}=")]
    return re.sub(r"^\w+=", "", found)
