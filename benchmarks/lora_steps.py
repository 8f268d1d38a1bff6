"""Compare time and memory of a training step with LoRA, with the last layers alone, and with all weights.

Each run is one of ``smoothcse train`` in a process of its own, on the Python documentation with the settings of
``smoothcse adapt``, alternately. Seconds and memory are those of its ``run.json``: the memory is that above the
loaded model, at the peak of a step.

    python benchmarks/lora_steps.py [--model all-mpnet-base-v2] [--steps 6] [--repeats 3] [--quick]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from harness import in_fresh_process, keep, ratios, require_idle_machine, show, spread
from rich.console import Console

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.training import make_config, train
from smoothcse.training.selection import DEV_SCORE

SETTINGS: dict[str, Any] = {
    "corpus": "python-docs",
    "views": "sentence",
    "symmetric": True,
    "projection": False,
    "max_length": 64,
    "noise_count": 0,
    "dev": "none",
    "log_steps": 1,
}
ALL = "all weights"
ARMS: dict[str, dict[str, Any]] = {
    ALL: {"learning_rate": 2e-5},
    "LoRA 16": {"lora_rank": 16, "learning_rate": 2e-4},
    "last 2 layers": {"train_layers": 2, "learning_rate": 2e-5},
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="packaged-minilm", help="encoder")
    parser.add_argument("--steps", type=int, default=6, help="steps per run")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--quick", action="store_true", help="short run that writes no results")
    parser.add_argument("--child", choices=ARMS, metavar="ARM", help="train one arm and print its figures")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run(arguments.child, arguments.model, arguments.steps)))
        return
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    if arguments.quick:
        found = {arm: [run(arm, arguments.model, steps=1, batch_size=8)] for arm in ARMS}
    else:
        require_idle_machine()
        for _ in range(arguments.repeats):
            for arm, runs in found.items():
                runs.append(
                    in_fresh_process(__file__, arm, "--model", arguments.model, "--steps", str(arguments.steps))
                )
    seconds = {arm: [one["seconds"] for one in runs] for arm, runs in found.items()}
    memory = {arm: [one["megabytes"] for one in runs] for arm, runs in found.items()}
    rows = [[arm, spread(seconds[arm]), spread(ratios(seconds, arm, ALL)), spread(memory[arm], 0)] for arm in ARMS]
    name = Path(arguments.model).name
    show(f"A step of {name}", ["ours", "seconds", "faster", "MB"], rows)
    keep(f"lora_steps_{name}", {"model": name, "seconds": seconds, "megabytes": memory}, arguments.quick)


def run(arm: str, model: str, steps: int, batch_size: int = 48) -> dict[str, float]:
    """Train one arm; return the seconds of a step, the median, and its memory in megabytes."""
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        fields = {**SETTINGS, **ARMS[arm], "model": model, "output": str(output), "batch_size": batch_size}
        config = make_config({**fields, "max_steps": steps, "eval_steps": steps})
        train(config, start_metrics={DEV_SCORE: 0.0}, console=Console(quiet=True))
        record = json.loads((output / "run.json").read_text(encoding="utf-8"))
    return {"seconds": record["times"]["step_seconds"], "megabytes": record["peak_memory_mb"]}


if __name__ == "__main__":
    main()
