"""Fuzz every reader with atheris, each in a separate process, and count its inputs.

::

    python tests/fuzz/fuzz.py --inputs 1000000 --output tests/fuzz/results.json

A reader stops after its share of the inputs or at its first finding: an exception other than ``SmoothCSEError``, an
input that takes more than ten seconds, or more than 4 GB of memory. The input of a finding is saved.
"""

from __future__ import annotations

import argparse
import json
import mmap
import platform
import resource
import struct
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LONGEST_INPUT, SECONDS, MEGABYTES = 4096, 10, 4096


def main() -> None:
    """Fuzz the readers one after another; exit with 1 if there is a finding."""
    arguments = _arguments()
    if arguments.worker:
        _work(arguments.worker, arguments.inputs, arguments.seed, Path(arguments.folder))
    else:
        sys.exit(_run_all(arguments))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs over all readers (default: 1000000)")
    parser.add_argument("--output", type=Path, default=HERE / "results.json", help="JSON file of the counts")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder for inputs with findings")
    parser.add_argument("--only", nargs="*", help="names of readers (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the mutations (default: 1)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def _run_all(arguments: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shares = _shares(arguments.only)
    total = sum(shares.values())
    counts = {name: round(arguments.inputs * share / total) for name, share in shares.items()}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    results: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=sum(counts.values()))
        for name, inputs in counts.items():
            bar.update(task, description=name)
            before = sum(result["inputs"] for result in results.values())
            results[name] = _run_one(
                name,
                inputs,
                arguments.seed,
                arguments.findings,
                lambda done, before=before: bar.update(task, completed=before + done),
            )
            _save(arguments.output, arguments.seed, results)
    broken = [name for name, result in results.items() if result["finding"]]
    print(
        f"{sum(result['inputs'] for result in results.values()):,} inputs, findings in: {', '.join(broken) or 'none'}"
    )
    return bool(broken)


def _shares(only: list[str] | None) -> dict[str, float]:
    """Return the shares of the readers; a separate process imports them, so that this one stays small."""
    command = "import json, targets; print(json.dumps({n: t.share for n, t in targets.targets().items()}))"
    answer = subprocess.run([sys.executable, "-c", command], cwd=HERE, capture_output=True, text=True, check=True)
    shares: dict[str, float] = json.loads(answer.stdout)
    return {name: share for name, share in shares.items() if not only or name in only}


def _run_one(name: str, inputs: int, seed: int, findings: Path, show: Any) -> dict[str, Any]:
    """Fuzz one reader; return its number of inputs, seconds and finding."""
    with tempfile.TemporaryDirectory(prefix="smoothcse-fuzz-run-") as scratch:
        folder = Path(scratch)
        (folder / "count").write_bytes(bytes(8))
        command = [sys.executable, __file__, "--worker", name, "--inputs", str(inputs), "--seed", str(seed)]
        started = time.perf_counter()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*command, "--folder", scratch], stdout=log, stderr=log)
            while process.poll() is None:
                time.sleep(0.2)
                show(_count(folder))
        finding = _finding(name, process.returncode, folder, findings)
        done, seconds = _count(folder), time.perf_counter() - started
    return {"inputs": done, "seconds": round(seconds, 1), "finding": finding}


def _count(folder: Path) -> int:
    return int(struct.unpack("<q", (folder / "count").read_bytes())[0])


def _finding(name: str, code: int, folder: Path, findings: Path) -> str | None:
    """Save the input and the log of a finding; return its message, or None without a finding."""
    if code == 0:
        return None
    kept = findings / name.replace(" ", "-")
    kept.mkdir(parents=True, exist_ok=True)
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    for file in (*folder.glob("crash-*"), *folder.glob("timeout-*"), *folder.glob("oom-*")):
        (kept / file.name).write_bytes(file.read_bytes())
    (kept / "log.txt").write_text(log, encoding="utf-8")
    errors = [line for line in log.splitlines() if "Error" in line or "Exception" in line or "ERROR" in line]
    return (errors or [f"exit code {code}"])[0].strip()[:200]


def _save(output: Path, seed: int, results: dict[str, Any]) -> None:
    record = {
        "inputs": sum(result["inputs"] for result in results.values()),
        "findings": sum(result["finding"] is not None for result in results.values()),
        "seed": seed,
        "longest_input": LONGEST_INPUT,
        "seconds_allowed": SECONDS,
        "megabytes_allowed": MEGABYTES,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("atheris", "smoothcse", "pyarrow", "pyyaml")},
        "readers": results,
    }
    output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _work(name: str, inputs: int, seed: int, folder: Path) -> None:
    """Fuzz one reader in this process; libFuzzer ends the process."""
    import atheris

    sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]
    with atheris.instrument_imports(include=["smoothcse", "yaml"]):
        from targets import targets
    target = targets()[name]
    for number, data in enumerate(target.seeds):
        (folder / "seeds").mkdir(exist_ok=True)
        (folder / "seeds" / str(number)).write_bytes(data)
    with (folder / "count").open("r+b") as file:
        counter = mmap.mmap(file.fileno(), 8)

    def one(data: bytes) -> None:
        struct.pack_into("<q", counter, 0, struct.unpack_from("<q", counter)[0] + 1)
        target.read(data)

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    options = [f"-runs={inputs}", f"-seed={seed}", f"-max_len={LONGEST_INPUT}", f"-timeout={SECONDS}"]
    options += [f"-rss_limit_mb={MEGABYTES}", f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(folder / "seeds")], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
