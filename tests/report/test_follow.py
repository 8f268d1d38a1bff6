"""The terminal shows a run as its files have it, at any moment."""

from __future__ import annotations

import json
import threading
import time

import pytest
from rich.console import Console

from smoothcse.errors import SmoothCSEError
from smoothcse.report.follow import follow_run
from smoothcse.training import make_config


def write(folder, status, steps):
    folder.mkdir(exist_ok=True)
    manifest = {"status": status, "config": make_config({}).as_dict(), "data": {}}
    if status == "finished":
        manifest["result"] = {
            "start_score": 1.0,
            "best_score": 2.0,
            "best_step": steps,
            "last_score": 2.0,
            "criterion": "a",
        }
    (folder / "run.json").write_text(json.dumps(manifest))
    lines = [{"step": 0, "eval_dev_score": 1.0}, {"step": steps, "eval_dev_score": 2.0}]
    lines += [{"step": step, "loss": 1 / step, "noise_share": 0.1} for step in range(1, steps + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 99, "lo')


def test_a_look_at_a_run_that_goes_on(tmp_path, capsys):
    write(tmp_path / "run", "running", 20)
    follow_run(tmp_path / "run", once=True, console=Console(width=80))
    shown = capsys.readouterr().out
    assert "run: running, step 20, dev score 2.00 at step 20" in shown
    assert all(title in shown for title in ("loss", "dev score", "noise share"))
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_it_ends_with_the_run(tmp_path):
    write(tmp_path / "run", "running", 3)
    watching = threading.Thread(
        target=follow_run, args=(tmp_path / "run",), kwargs={"interval": 0.01, "console": Console(quiet=True)}
    )
    watching.start()
    time.sleep(0.2)
    assert watching.is_alive()
    write(tmp_path / "run", "finished", 5)
    watching.join(20)
    assert not watching.is_alive()


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(SmoothCSEError, match="is not a run folder"):
        follow_run(tmp_path, once=True)
