"""The page of benchmarks shows what was measured, and its tables are what the results say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def test_the_page_is_up_to_date():
    command = [sys.executable, "benchmarks/page.py", "--check"]
    assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True).returncode == 0


@pytest.mark.parametrize("name", ["training_step", "step_parts", "loss_alone", "batch_memory", "encoding"])
def test_each_benchmark_takes_a_quick_look(name, shared, minilm):
    before = {file: file.read_bytes() for file in (REPOSITORY / "benchmarks" / "results").glob("*.json")}
    command = [sys.executable, f"benchmarks/{name}.py", "--quick"]
    looked = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert looked.returncode == 0, looked.stderr
    assert any(word in looked.stdout for word in ("ours", "cached", "all of them"))
    after = {file: file.read_bytes() for file in (REPOSITORY / "benchmarks" / "results").glob("*.json")}
    assert after == before
