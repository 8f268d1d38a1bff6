"""The page of benchmarks shows what was measured, and each benchmark runs: a tiny shape of it, in this process."""

from __future__ import annotations

import csv
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from repository import REPOSITORY
from smoothcse.encoders.precision import ASSUME_BF16
from tiny import sentences

FOLDER = REPOSITORY / "benchmarks"

PRECISE = {
    "training_step": "--quick --model {tiny}",
    "step_parts": "--quick",
    "encoding": "--quick",
}
"""Those whose measurements depend on the hardware's precisions, and the arguments of a quick look."""

OTHERS = {
    "sts_evaluation": "{tiny} {shared}/data/sts --limit 4 --repeats 1",
    "service_burst": "--clients 2 --texts 2 --repeats 1 --quick",
    "batch_memory": "--quick",
    "loss_alone": "--quick",
    "method_steps": "--quick",
    "noise_gradient": "{tiny} {text} --batches 1 --draws 1 --batch-size 8 --warm-steps 1",
    "noise_variants": "{text} {sts} --model {tiny} --seeds 1 --steps 1",
    "false_negatives": "{text} {output}.json --judge {tiny} --sentences 64 --draws 1",
    "embedding_sizes": "{output}.json --model {model} --limit 120",
    "transfer_parity": "{tiny} {shared}/data/transfer --tasks MRPC --limit 40",
    "quality": "{text} {sts} --quick",
    "corpus_memory": "--sentences 1000",
    "data_path": "--quick",
    "search_recall": "--quick --model {tiny}",
    "service_load": "--clients 2 --seconds 0.5 --quick",
    "service_memory": "--quick",
    "long_run": "{text} --model {tiny} --minutes 0.05 --eval-steps 5 --quick",
}


def results() -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in (FOLDER / "results").glob("*") if file.is_file()}


def test_the_page_is_up_to_date():
    command = [sys.executable, "benchmarks/page.py", "--check"]
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).returncode == 0


def test_each_benchmark_is_tried():
    tried = {*PRECISE, *OTHERS, "harness", "page", "plots"}
    assert {file.stem for file in FOLDER.glob("*.py")} == tried


@pytest.fixture(scope="module")
def look(shared, minilm, tiny_bert, tmp_path_factory):
    """Runs a benchmark as its command does, but in this process: the imports take longer than the tiny shapes."""
    folder = tmp_path_factory.mktemp("benchmarks")
    text = folder / "data" / "corpus" / "wiki_sentences.txt"
    text.parent.mkdir(parents=True)
    for file in (text, text.with_name("captions.txt")):
        file.write_text("\n".join(sentences(700)) + "\n", encoding="utf-8")
    dev = folder / "sts" / "STSBenchmark"
    dev.mkdir(parents=True)
    rows = [
        ["main", "file", "2012", str(n), f"{n % 6}.0", *pair]
        for n, pair in enumerate(zip(sentences(12), sentences(12, 1), strict=True))
    ]
    with (dev / "sts-dev.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE).writerows(rows)
    places = {"shared": shared, "model": minilm, "tiny": tiny_bert, "text": text, "sts": folder / "sts"}

    def run(name: str, arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
        given = arguments.format(**places, output=folder / name).split()
        monkeypatch.syspath_prepend(FOLDER)
        monkeypatch.setenv("SMOOTHCSE_SHARED", str(folder))
        monkeypatch.delitem(sys.modules, "harness", raising=False)  # which reads that variable
        monkeypatch.setattr(sys, "argv", [str(FOLDER / f"{name}.py"), *given])
        before = results()
        monkeypatch.setattr(sys, "exit", lambda code=None: code and pytest.fail(f"{name} ended with {code}"))
        runpy.run_path(sys.argv[0], run_name="__main__")
        assert results() == before

    return run


@pytest.mark.parametrize("name", PRECISE)
@pytest.mark.parametrize("bf16", ["1", "0"], ids=["with bf16", "without bf16"])
def test_a_quick_look_on_either_hardware(name, bf16, look, monkeypatch, capsys):
    monkeypatch.setenv(ASSUME_BF16, bf16)
    look(name, PRECISE[name], monkeypatch)
    printed = capsys.readouterr().out
    assert any(word in printed for word in ("ours", "all of them"))
    assert name != "training_step" or ("bf16" in printed) == (bf16 == "1")


@pytest.mark.parametrize("name", OTHERS)
def test_a_quick_look(name, look, monkeypatch):
    look(name, OTHERS[name], monkeypatch)
