"""Measure a training step on a CPU under settings that a process has from its start, or compiled by Inductor.

Freed memory kept by the C library, other allocators (jemalloc, tcmalloc: Debian's packages libjemalloc2 and
libtcmalloc-minimal4), huge pages, pinned threads, threads that sleep while they wait, and the layers compiled with
``max-autotune``. Each setting has a process of its own and alternates with the default; the step is that
of ``step_parts.py``. An allocator that is not installed is left out. A run keeps freed memory by itself.

    python benchmarks/step_settings.py [--batch 64] [--repeats 11] [--quick]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import SHARED, Seconds, alternate, answer_of, keep, precisions, ratios, show, spread
from step_parts import compiled, make_step

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.corpus import load_sentences

DEFAULT = "default"
AUTOTUNED = "compiled, max-autotune"
KEPT = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=4294967296"
"""The C library gives freed blocks of less than 32 MiB, and memory at the end of the heap, to later allocations."""

ALLOCATORS = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="sentences per step")
    parser.add_argument("--repeats", type=int, default=11, help="alternating steps of each setting and the default")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--autotune", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quiet_libraries()
    batch, repeats = (4, 1) if arguments.quick else (arguments.batch, arguments.repeats)
    if arguments.child:
        answer_with_steps(arguments.batch, autotune=arguments.autotune)
        return
    chosen = {DEFAULT: {}} if arguments.quick else settings()
    seconds: Seconds = {name: [] for name in chosen}
    relative: dict[str, list[float]] = {}
    with ExitStack() as stack:
        ways = {name: stack.enter_context(steps_of(batch, name, given)) for name, given in chosen.items()}
        for name, way in ways.items():  # each in turn with the default alone: the machine changes its speed in seconds
            print(name, file=sys.stderr, flush=True)
            pair = alternate({DEFAULT: ways[DEFAULT]} | {name: way}, repeats)
            for one, values in pair.items():
                seconds[one] += values
            if name != DEFAULT:
                relative[name] = ratios(pair, DEFAULT, name)
    rows = [[name, spread(values), spread(relative.get(name, [1.0]))] for name, values in seconds.items()]
    show(f"A step of {batch} sentences, {precisions()[-1]}", ["setting", "seconds", "relative time"], rows)
    found = {"batch": batch, "precision": precisions()[-1], "seconds": seconds, "relative": relative}
    keep("step_settings", found, arguments.quick)


def settings() -> dict[str, dict[str, str]]:
    """Return the environment variables of each setting."""
    found = {name: {"LD_PRELOAD": file} for name, library in ALLOCATORS.items() if (file := installed(library))}
    return {
        DEFAULT: {},
        "freed memory kept": {"GLIBC_TUNABLES": KEPT},
        **found,
        "huge pages": {"THP_MEM_ALLOC_ENABLE": "1"},
        "pinned threads": {"OMP_PROC_BIND": "close", "OMP_PLACES": "threads"},
        "threads that sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
        AUTOTUNED: {},
    }


def installed(library: str) -> str | None:
    """Return the path of a shared library of the system, or None."""
    return next((str(file) for file in Path("/usr/lib").glob(f"*/{library}")), None)


@contextmanager
def steps_of(batch: int, name: str, variables: Mapping[str, str]) -> Iterator[Callable[[], float]]:
    """Start a process under a setting and yield a function that has it make a step and returns the seconds."""
    command = [sys.executable, __file__, "--child", "--batch", str(batch), *["--autotune"] * (name == AUTOTUNED)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=os.environ | variables, stdin=pipe, stdout=pipe, text=True) as process:

        def step() -> float:
            print(file=process.stdin, flush=True)
            return answer_of(process)  # type: ignore[no-any-return]

        step()  # waits until it is ready
        yield step
        process.stdin.close()  # type: ignore[union-attr] # which ends it


def answer_with_steps(batch: int, *, autotune: bool) -> None:
    """Make a step for each line of standard input and print its seconds."""
    text = SHARED / "data" / "corpus" / "wiki_sentences.txt"
    sentences: list[str] = load_sentences(text, limit=batch, seed=0).dataset["sentence"][:]
    mode = compiled(dynamic=True, mode="max-autotune-no-cudagraphs")
    step = make_step(sentences, change=mode) if autotune else make_step(sentences)
    step(), step()  # the first steps are slow
    for _ in sys.stdin:
        print(step(), flush=True)


if __name__ == "__main__":
    main()
