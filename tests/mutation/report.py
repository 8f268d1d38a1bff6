"""Write docs/explanations/mutation.md from mutmut's results in mutants/ and the reasons in survivors.toml.

``make mutation`` runs this. The exit code is 1 if a survivor has no reason or a file is below the required share.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from mutmut.mutation.data import MutantLineSpans, SourceFileMutationData
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

REASONS = Path(__file__).with_name("survivors.toml")
PAGE = Path("docs/explanations/mutation.md")
ASKED_FOR = 0.9
DEAD = {"killed", "timeout"}
UNTESTED = {"not checked", "skipped"}

INTRODUCTION = """\
# Mutation testing

`make mutation` makes small changes (an operator, a number, an argument) to the code that computes published results,
one at a time, and runs the tests that reach the changed code. A failing test kills the mutant. A surviving mutant is
either a gap in the tests or equivalent to the original; the survivors are listed below with the reasons.

The files and the tests are listed under `[tool.mutmut]` in `pyproject.toml`, the reasons in
`tests/mutation/survivors.toml`. The command is not part of `make test`. An interrupted run continues where it
stopped. It tests changed functions again and keeps the results of the others, even if tests have changed; a change of
the options or of the list of tests in `pyproject.toml` discards all results. Remove the folder `mutants` to get the
results of a single revision, and after adding a file to the list. To test the survivors again after changing the
tests:

    .venv/bin/mutmut results | sed -n 's/^ *\\(.*\\): survived$/\\1/p' | xargs .venv/bin/mutmut run --max-children 1

mutmut does not change code outside functions (constants, class attributes), decorated functions (properties,
`backward`), type annotations or docstrings. Error messages are excluded by configuration.
"""


class Survivor(NamedTuple):
    """A mutant that no test kills.

    Attributes:
        function: Name below ``smoothcse``, e.g. ``objectives.draws.uniforms``.
        was: Changed lines in the original.
        becomes: The same lines in the mutant.
    """

    function: str
    was: str
    becomes: str


class Module(NamedTuple):
    """The mutants of one file."""

    name: str
    statuses: Counter[str]
    survivors: list[Survivor]

    @property
    def tested(self) -> int:
        return sum(count for status, count in self.statuses.items() if status not in UNTESTED)

    @property
    def dead(self) -> int:
        return sum(self.statuses[status] for status in DEAD)


def main() -> int:
    modules = [module for module in map(read_module, sorted(walk_mutatable_files())) if module.statuses]
    reasons = tomllib.loads(REASONS.read_text("utf-8"))["survivor"]
    explained = {number: [] for number in range(len(reasons))}
    open_ones = []
    for survivor in (survivor for module in modules for survivor in module.survivors):
        number = next((n for n, reason in enumerate(reasons) if is_reason(reason, survivor)), None)
        (open_ones if number is None else explained[number]).append(survivor)
    PAGE.write_text("\n".join(page(modules, reasons, explained, open_ones)), "utf-8")
    print("\n".join(table(modules)))
    stale = [reasons[number]["why"] for number, found in explained.items() if not found]
    low = [module.name for module in modules if module.dead < ASKED_FOR * max(1, module.tested)]
    print(f"survivors without a reason: {len(open_ones)}; reasons without a survivor: {stale}; below 90%: {low}")
    return bool(open_ones or low)


def read_module(path: Path) -> Module:
    data = SourceFileMutationData(path=path)
    data.load()
    statuses = {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items()}
    alive = [name for name, status in statuses.items() if status not in DEAD | UNTESTED]
    name = str(path).removeprefix("src/smoothcse/")
    return Module(name, Counter(statuses.values()), [survivor(path, mutant) for mutant in alive])


def survivor(path: Path, mutant: str) -> Survivor:
    spans = MutantLineSpans.load(path)
    assert spans is not None
    module, _, mutated = mutant.rpartition(".")
    mangled = mutated.partition("__mutmut_")[0]
    sources = spans.read_function_sources([f"{mangled}__mutmut_orig", mutated])
    was, becomes = ([line.strip() for line in re.sub(r"__mutmut_\w+", "", text).splitlines()] for text in sources)
    changed = [line for line in difflib.ndiff(was, becomes) if line[0] in "+-"]
    readable = mangled.removeprefix("x_").removeprefix("xǁ").replace("ǁ", ".")
    return Survivor(
        f"{module.removeprefix('smoothcse.')}.{readable}",
        *(" ".join(line[2:] for line in changed if line[0] == sign).replace(mangled, readable) for sign in "-+"),
    )


def is_reason(reason: dict[str, Any], survivor: Survivor) -> bool:
    """Return whether a reason's patterns of functions and its regular expression match a mutant."""
    of_function = any(fnmatch.fnmatch(survivor.function, pattern) for pattern in reason["functions"])
    return of_function and bool(re.search(reason["becomes"], survivor.becomes))


def table(modules: list[Module]) -> Iterator[str]:
    yield "| File | Mutants tested | Killed | Timed out | Survived | Not reached | Share | Not tested yet |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    whole = Module("all", sum((module.statuses for module in modules), Counter()), [])
    for module in [*modules, whole]:
        counts = [module.statuses[status] for status in ("killed", "timeout", "survived", "no tests")]
        waiting = sum(module.statuses[status] for status in UNTESTED)
        share = module.dead / module.tested if module.tested else 0.0
        yield f"| {module.name} | {module.tested} | {' | '.join(map(str, counts))} | {share:.1%} | {waiting} |"


def page(
    modules: list[Module],
    reasons: list[dict[str, Any]],
    explained: dict[int, list[Survivor]],
    open_ones: list[Survivor],
) -> Iterator[str]:
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    yield INTRODUCTION
    yield f"Written by `make mutation` on {datetime.now(UTC):%Y-%m-%d} at revision {revision.stdout.strip()}.\n"
    yield from table(modules)
    yield "\n## Survivors and why"
    for number, found in explained.items():
        if found:
            yield f"\n{reasons[number]['kind'].capitalize()}: {reasons[number]['why']} ({len(found)})\n"
            yield from map(line, found)
    if open_ones:
        yield f"\nWithout a reason yet ({len(open_ones)})\n"
        yield from map(line, open_ones)
    yield ""


def line(survivor: Survivor) -> str:
    return f"- `{survivor.function}`: `{survivor.was}` → `{survivor.becomes}`"


if __name__ == "__main__":
    sys.exit(main())
