"""The command for a GPU, rehearsed on the CPU: every branch but the kernels themselves."""

from __future__ import annotations

import dataclasses
import importlib
import signal
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from repository import REPOSITORY
from smoothcse.encoders.precision import ASSUME_BF16
from tiny import sentences

FOLDER = REPOSITORY / "benchmarks"
MODULES = ("encoding", "gpu", "gpu_candidates", "gpu_packed", "gpu_steps", "harness", "shapes", "training_step")
READS = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "aten::equal")


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """Import a benchmark anew, with 100 sentences as shared data and a faked GPU."""
    text = tmp_path / "data" / "corpus" / "wiki_sentences.txt"
    text.parent.mkdir(parents=True)
    text.write_text("\n".join(sentences(100)) + "\n", encoding="utf-8")
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("SMOOTHCSE_SHARED", str(tmp_path))
    monkeypatch.setenv("SMOOTHCSE_REHEARSE_GPU", "1")
    monkeypatch.setenv(ASSUME_BF16, "1")
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


def ended(call) -> object:
    """Return the code or the message with which a call exits; 0 if it returns."""
    try:
        call()
    except SystemExit as leaving:
        return leaving.code or 0
    return 0


class InThisProcess:
    """A part that runs in this process."""

    def __init__(self, module: str) -> None:
        self.module = importlib.import_module(module)

    def until_ready(self, end: float) -> None:
        pass

    def run(self, arguments: list[str], limit: float) -> str:
        sys.argv = [self.module.__name__, *arguments]
        code = ended(self.module.main)
        return f"failed: {code}" if code else "ok"

    def stop(self) -> None:
        pass


class NoReads(TorchDispatchMode):
    """Refuses what a CUDA graph cannot capture: values read from the device, and copies of values to it."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(name in str(func) for name in READS), func
        return func(*args, **(kwargs or {}))


def captured_on_a_cpu(step):
    def replay() -> None:
        with pytest.MonkeyPatch.context() as patch, NoReads():
            patch.setattr("transformers.masking_utils.is_tracing", lambda tensor=None: True)  # as while capturing
            step()

    return replay


def row_by_row(queries, keys, values, of_queries, of_keys, rate):
    """Attend as varlen_attn does, without its kernel."""
    parts = [
        part.transpose(0, 1).split(limits.offsets.diff().tolist(), dim=1)
        for part, limits in ((queries, of_queries), (keys, of_keys), (values, of_keys))
    ]
    rows = [scaled_dot_product_attention(q[None], k[None], v[None])[0] for q, k, v in zip(*parts, strict=True)]
    return torch.cat(rows, dim=1).transpose(0, 1)


def test_the_whole_command(benchmark, tiny_bert, monkeypatch, capsys):
    before = sorted(FOLDER.glob("results/*"))
    gpu, steps = benchmark("gpu"), benchmark("gpu_steps")
    bare = steps.bare_step
    monkeypatch.setattr(gpu, "Waiting", InThisProcess)
    fewer = dataclasses.replace(gpu.PARTS["steps"], arguments=(*gpu.STEPS, "--precision", "bf16"))
    monkeypatch.setattr(gpu, "PARTS", {**gpu.PARTS, "steps": fewer})
    monkeypatch.setattr(steps, "captured", captured_on_a_cpu)
    monkeypatch.setattr(steps, "varlen", row_by_row)
    monkeypatch.setattr(steps, "bare_step", lambda *given, capturable=False, **options: bare(*given, **options))
    options = ["--quick", "--model", tiny_bert, "--models", "bert-base"]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *options, "--parts", "steps", "candidates", "encoding"])
    code = ended(gpu.main)
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "bert-base, 8, bf16" in printed
    assert "Milliseconds per step: bert-base, batch 4, bf16" in printed
    assert "Error" not in printed  # the row of a candidate that failed
    assert all(f" building: {name};" in printed for name in steps.CANDIDATES)
    assert "Encoding 64 sentences" in printed
    assert printed.count(" ok ") == 4
    assert sorted(FOLDER.glob("results/*")) == before


def test_its_tests_exist(benchmark):
    assert all((REPOSITORY / name).is_file() for name in benchmark("gpu").PARTS["tests"].arguments if "/" in name)


def test_without_a_gpu_nothing_runs(benchmark, monkeypatch):
    gpu = benchmark("gpu")
    monkeypatch.delenv("SMOOTHCSE_REHEARSE_GPU")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(gpu, "Waiting", lambda module: SimpleNamespace(stop=lambda: None))
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    assert "no CUDA device" in ended(gpu.main)


def test_parts_are_processes_that_end_in_time(benchmark, tmp_path, monkeypatch, capsys):
    gpu = benchmark("gpu")
    for name, body in {"works": "assert sys.argv[1:] == ['--seconds', '1']", "fails": "1 / 0"}.items():
        (tmp_path / f"{name}.py").write_text(f"import sys\n\n\ndef main():\n    {body}\n")
    (tmp_path / "lasts.py").write_text("import time\n\n\ndef main():\n    time.sleep(60)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    parts = {name: gpu.Part(name, 1.0, (), keeps_time=name == "works") for name in ("works", "fails", "lasts")}
    monkeypatch.setattr(gpu, "PARTS", parts | {"late": gpu.Part("works", 1e-9, ())})
    monkeypatch.setattr(gpu, "LEAST", 0.2)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--minutes", "0.07"])
    started = time.monotonic()
    assert ended(gpu.main) == 1
    assert time.monotonic() - started < 20
    printed = capsys.readouterr().out
    words = ("ok", "failed: exit code 1", "failed: stopped after", "left out")
    for name, word in zip(("works", "fails", "lasts", "late"), words, strict=True):
        assert any(name in line and word in line for line in printed.splitlines())


def test_a_candidate_that_is_not_ready_in_time_is_stopped(benchmark):
    candidates = benchmark("gpu_candidates")
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(candidates.OutOfTimeError, match="not ready"), candidates.at_most(0.05):
        time.sleep(5)
    assert signal.getsignal(signal.SIGALRM) is before


def test_the_revision_without_git(benchmark, monkeypatch):
    harness = benchmark("harness")
    monkeypatch.setenv("PATH", "")
    assert harness.revision() == "unknown"
    monkeypatch.setenv("SMOOTHCSE_COMMIT", "abc")
    assert harness.environment()["commit"] == "abc"
