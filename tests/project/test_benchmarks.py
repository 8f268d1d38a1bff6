"""The page of benchmarks shows what was measured, and each benchmark runs: a tiny shape of it, in this process."""

from __future__ import annotations

import csv
import importlib
import json
import runpy
import sys
from pathlib import Path

import pytest

from repository import REPOSITORY
from smoothcse.encoders.precision import ASSUME_BF16
from smoothcse.search import table_indexes
from tiny import sentences

FOLDER = REPOSITORY / "benchmarks"

PRECISE = {
    "training_step": "--quick --model {tiny}",
    "step_parts": "--quick",
    "encoding": "--quick",
    "encoding_backends": "--quick --model {tiny}",
}
"""Those whose measurements depend on the hardware's precisions, and the arguments of a quick look."""

OTHERS = {
    "sts_evaluation": "{tiny} {shared}/data/sts --limit 4 --repeats 1",
    "service_burst": "--quick",
    "batch_memory": "--quick --precision bf16",
    "caching": "--quick --tokens 64 128",
    "loss_alone": "--quick",
    "lora_steps": "--quick --model {tiny}",
    "method_steps": "--quick",
    "noise_gradient": "{tiny} {text} --batches 1 --draws 1 --batch-size 8 --warm-steps 1",
    "noise_variants": "{text} {sts} --model {tiny} --seeds 1 --steps 1",
    "false_negatives": "{text} {output}.json --judge {tiny} --sentences 64 --draws 1",
    "embedding_sizes": "{output}.json --model {model} --limit 120",
    "transfer_parity": "{tiny} {shared}/data/transfer --tasks MRPC --limit 40",
    "quality": "{text} {sts} --quick",
    "step_profile": "--quick --threads 1",
    "step_settings": "--quick",
    "bf16_quality": "{text} {sts} --quick",
    "corpus_memory": "--sentences 1000",
    "data_path": "--quick --model {tiny}",
    "search_recall": "--quick --model {tiny}",
    "indexing": "--quick --model {tiny}",
    "hybrid_search": "{domain} --model {tiny} --quick",
    "two_commands": "--quick --model {tiny}",
    "service_load": "--quick",
    "service_peer": "--quick --model {tiny}",
    "service_memory": "--quick",
    "long_run": "{text} --model {tiny} --minutes 0.02 --eval-steps 5 --quick",
    "domains": "{output} --packages {packages} --documents 4",
    "adaptation": "{domain}.jsonl {domain} --encoder {tiny} --arms start sentence sentence-mined "
    "host-simcse --quick --seconds 0.01",
    "static_student": "{domain} --model {tiny} --quick",
    "adaptation_tables": "{domain}.jsonl",  # of the benchmark before
}


def results() -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in (FOLDER / "results").glob("*") if file.is_file()}


def test_the_page_is_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", ["page.py", "--check"])
    with pytest.raises(SystemExit) as leaving:
        runpy.run_path(str(FOLDER / "page.py"), run_name="__main__")
    assert not leaving.value.code


def test_each_benchmark_is_tried():
    parts = {f"adaptation_{part}" for part in ("arms", "domain", "host", "mining")}
    by_others = {"host_backends"}  # in an environment of its own, for encoding_backends
    on_a_gpu = {"gpu", "gpu_candidates", "gpu_packed", "gpu_steps"}  # test_gpu_command.py
    tried = {*PRECISE, *OTHERS, *parts, *on_a_gpu, *by_others, "harness", "page", "plots", "shapes"}
    assert {file.stem for file in FOLDER.glob("*.py")} == tried


def test_the_page_of_the_adaptation_study_has_the_tables_of_its_runs(monkeypatch, capsys):
    folder = REPOSITORY / "docs" / "results" / "adaptation"
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setattr(sys, "argv", ["adaptation_tables.py", str(folder / "runs.jsonl")])
    runpy.run_path(str(FOLDER / "adaptation_tables.py"), run_name="__main__")
    tables = capsys.readouterr().out
    assert tables.count("|") > 100
    assert tables.strip() in (folder / "README.md").read_text(encoding="utf-8")


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
    places = {
        "domain": domain(folder / "domain"),
        "packages": packages(folder / "Translation-en"),
        "shared": shared,
        "model": minilm,
        "tiny": tiny_bert,
        "text": text,
        "sts": folder / "sts",
    }

    def run(name: str, arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
        given = arguments.format(**places, output=folder / name).split()
        monkeypatch.syspath_prepend(FOLDER)
        monkeypatch.setenv("SMOOTHCSE_SHARED", str(folder))
        monkeypatch.setenv("SMOOTHCSE_LOADED", "1")
        monkeypatch.delitem(sys.modules, "harness", raising=False)  # which reads that variable
        monkeypatch.setattr(sys, "argv", [str(FOLDER / f"{name}.py"), *given])
        before = results()
        monkeypatch.setattr(sys, "exit", lambda code=None: code and pytest.fail(f"{name} ended with {code}"))
        runpy.run_path(sys.argv[0], run_name="__main__")
        assert results() == before
        assert table_indexes.APPROXIMATE_FROM == 50_000  # what it changes here, it restores for the tests that follow

    return run


def domain(folder: Path) -> Path:
    """Write a domain in BEIR's layout: 60 documents of four sentences, and a query for each."""
    (folder / "qrels").mkdir(parents=True)
    texts = [f"{text[0].upper()}{text[1:]}." for text in sentences(5 * 60)]
    rows = {
        "corpus.jsonl": [" ".join(texts[n : n + 4]) for n in range(0, 240, 4)],
        "queries.jsonl": texts[240:],
    }
    for name, column in rows.items():
        lines = [json.dumps({"_id": str(n), "text": text}) for n, text in enumerate(column)]
        (folder / name).write_text("\n".join(lines) + "\n")
    judged = [f"{n}\t{n}\t1" for n in range(60)]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    return folder


def packages(file: Path) -> Path:
    """Write descriptions of packages as Debian's Translation-en has them."""
    records = [
        f"Package: p{n}\nDescription-en: package {n}\n {text} {text} {text} {text}\n .\n {text}\n"
        for n, text in enumerate(sentences(12, 3))
    ]
    file.write_text("\n".join(records))
    return file


@pytest.mark.parametrize("name", PRECISE)
@pytest.mark.parametrize("bf16", ["1", "0"], ids=["with bf16", "without bf16"])
def test_a_quick_look_on_either_hardware(name, bf16, look, monkeypatch, capsys):
    monkeypatch.setenv(ASSUME_BF16, bf16)
    look(name, PRECISE[name], monkeypatch)
    printed = capsys.readouterr().out
    assert any(word in printed for word in ("ours", "all of them"))
    assert name != "training_step" or ("bf16" in printed) == (bf16 == "1")


@pytest.mark.parametrize("name", OTHERS)
def test_a_quick_look(name, look, monkeypatch, capsys):
    look(name, OTHERS[name], monkeypatch)
    printed = capsys.readouterr().out
    rows = ("600 documents, 20 queries", "exact", "pq", "int8", "binary")
    assert name != "search_recall" or all(row in printed for row in rows)
    assert name != "hybrid_search" or all(row in printed for row in ("BM25", "meaning", "reciprocal", "MaxSim"))
    assert name != "adaptation" or printed.count(" steps in ") == 4  # no arm failed


HOST = """#!{python}
import json, sys
import numpy as np
say = lambda answer: print(json.dumps(answer), flush=True)
say({{"failed": "openvino", "reason": "OSError: no plugin"}})
say({{"prepared": "onnx, int8", "megabytes": 23.5}})
say({{"ready": True, "version": "5.2.3"}})
for line in sys.stdin:
    request = json.loads(line)
    texts = json.load(open(request["texts"]))
    np.save(request["embeddings"], [[len(text), len(request["backend"])] for text in texts])
    say({{}})
"""


def test_the_backends_of_the_host_answer_from_another_environment(monkeypatch, capfd, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    backends = importlib.import_module("encoding_backends")
    python = tmp_path / "python"
    python.write_text(HOST.format(python=sys.executable))
    python.chmod(0o755)
    with backends.host_ways(python, "model", tmp_path, ["a text"]) as (ways, version):
        assert list(ways) == ["sentence-transformers, onnx, int8"]
        way = ways["sentence-transformers, onnx, int8"]
        assert way.embed(["one", "three"]).tolist() == [[3, 10], [5, 10]]
        assert (way.megabytes, version) == (23.5, "5.2.3")
    assert "openvino of sentence-transformers failed: OSError: no plugin" in capfd.readouterr().out
    assert json.loads((tmp_path / "calibration" / "train.jsonl").read_text()) == {"sentence": "a text"}
    with backends.host_ways(None, "model", tmp_path, []) as nothing:
        assert nothing == ({}, None)


def test_a_loaded_machine_is_refused_unless_told(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    harness = importlib.import_module("harness")
    ticks = iter([(0, 0), (50, 100), (0, 0), (50, 100), (0, 0), (99, 100)])
    monkeypatch.setattr(harness, "cpu_times", lambda: next(ticks))
    monkeypatch.setattr(harness.time, "sleep", lambda seconds: None)
    monkeypatch.delenv(harness.LOADED_VARIABLE, raising=False)
    check = harness.require_idle_machine.__wrapped__  # without its cache
    with pytest.raises(SystemExit, match=r"Other programs use 50% of the processors.*SMOOTHCSE_LOADED=1"):
        check()
    monkeypatch.setenv(harness.LOADED_VARIABLE, "1")
    check()
    monkeypatch.delenv(harness.LOADED_VARIABLE)
    check()
