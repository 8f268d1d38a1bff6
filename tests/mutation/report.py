"""Write docs/explanations/mutation.md from what mutmut left in mutants/ and from the reasons in survivors.toml.

``make mutation`` runs it. It ends with 1 if a survivor has no reason or a file is below the share asked for.
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

`make mutation` changes one thing at a time in the code that computes what is published (an operator, a number, an
argument) and runs the tests that reach it. A test that fails kills the mutant; a mutant that survives is either a gap
in the tests or no fault at all. The survivors stand below, with the reasons.

The files and the tests are listed under `[tool.mutmut]` in `pyproject.toml`, the reasons in
`tests/mutation/survivors.toml`. The command is not part of `make test`. Interrupted, it goes on where it was; it looks
again at functions that have changed and keeps the verdicts of the others even if tests have changed, but forgets all
verdicts when the options or the list of tests in `pyproject.toml` change. So remove the folder `mutants` before
figures are to be of one revision, and after a file was added to the list. To test the survivors again after a change
of the tests:

    .venv/bin/mutmut results | sed -n 's/^ *\\(.*\\): survived$/\\1/p' | xargs .venv/bin/mutmut run --max-children 1

mutmut leaves out what is not in the body of a function (constants, class attributes), decorated functions (properties,
`backward`), type annotations and docstrings. The texts of errors are left out by configuration.
"""


class Survivor(NamedTuple):
    """A mutant that no test kills.

    Attributes:
        function: its name below ``smoothcse``, e.g. ``objectives.draws.uniforms``.
        was: the changed lines as they are.
        becomes: the same in the mutant.
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
    """Whether a reason, of patterns of functions and a regular expression over the new lines, is this mutant's."""
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
