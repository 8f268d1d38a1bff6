"""Write the study files of questions 3 and 5 of PROTOCOL.md, whose learning rates and temperatures are tuned first.

With no study-X-tune/runs.jsonl it writes study-X-tune.yaml, each arm at each setting on seed 99. With it, it writes
study-X.yaml, each arm at its best setting on three other seeds.

    python docs/results/smoothing/tuned_studies.py
    smoothcse study docs/results/smoothing/study-5-tune.yaml      # writes study-5-tune/
    python docs/results/smoothing/tuned_studies.py                # writes study-5.yaml
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from math import prod
from pathlib import Path
from typing import Any

import yaml

Settings = dict[str, Any]

TUNING_SEED = 99
SEEDS = [0, 1, 2]
LEARNING_RATES = [3.0e-5, 6.0e-5, 1.2e-4]
TEMPERATURES = [0.03, 0.05, 0.1]
SHARE = {"noise_count": 192, "noise_mode": "expected", "noise_share": 0.4}
BASE: Settings = {
    "corpus": "../shared/data/corpus",
    "model": "packaged-minilm",
    "pooling": "cls",
    "dev": "../shared/data/sts",
    "noise_count": 0,
}

SIZES = (  # question 3: what is equal between the batch sizes, batch size, steps
    ("sentences", 64, 1200),
    ("sentences", 256, 300),
    ("sentences", 1024, 75),
    ("sentences", 4096, 19),
    ("steps", 64, 75),
    ("steps", 256, 75),
    ("steps", 4096, 75),
)
CACHED_FROM = 1024  # sentences of a batch
MINI_BATCH = 32768  # tokens

METHODS: dict[str, Settings] = {  # question 5
    "simcse": {},
    "esimcse": {"method": "esimcse"},
    "is-cse": {"method": "is-cse"},
    "sncse": {"method": "sncse", "settings": {"negation": "rules"}},
    "conpvp": {"method": "conpvp"},
    "promptbert": {"method": "promptbert"},
    "simcse++": {"method": "simcse++"},
    "debcse": {"method": "debcse"},
    "arccon": {"method": "arccon"},
}


def main() -> None:
    """Write what the runs so far allow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent, help="folder of the studies")
    folder = parser.parse_args().folder
    for equal, size, steps in SIZES:
        about = f"Question 3, batches of {size}, {steps} steps ({size * steps:,} sentences): does smoothing help?"
        base = BASE | {"batch_size": size, "max_steps": steps, "eval_steps": steps, "log_steps": 5, "epochs": 100}
        if size > CACHED_FROM:
            base["mini_batch"] = MINI_BATCH
        write(folder, f"study-3-{equal}-{size}", about, base, batch_arms(size), {"learning_rate": LEARNING_RATES})
    about = "Question 5: which method learns most at settings tuned with equal effort, with and without smoothing?"
    base = BASE | {"batch_size": 64, "max_steps": 200, "eval_steps": 200, "log_steps": 10}
    grid = {"learning_rate": LEARNING_RATES, "temperature": TEMPERATURES}
    write(folder, "study-5", about, base, METHODS, grid, smoothed=SHARE)


def batch_arms(size: int) -> dict[str, Settings]:
    """Return the arms of question 3 for a batch size."""
    return {
        "infonce": {},
        "gs-192": {"noise_count": 192},
        "gs-3n": {"noise_count": 3 * size},
        "share-0.4": SHARE,
        "mask-0.9": {"false_negative_threshold": 0.9},
    }


def write(
    folder: Path,
    name: str,
    about: str,
    base: Settings,
    arms: dict[str, Settings],
    grid: dict[str, list[float]],
    smoothed: Settings | None = None,
) -> None:
    """Write the tuning study of a name, and the study at the best settings once the tuning has been run.

    Args:
        folder: Folder of the studies.
        name: Name of the study.
        about: Question of the study.
        base: Settings of every run.
        arms: Settings of each arm. The first is the control.
        grid: Values of each setting that is tuned.
        smoothed: Settings of smoothing; with them, each arm is run a second time.
    """
    control = next(iter(arms))
    tuning = {"about": f"{about} (tuning)", "base": base, "seeds": [TUNING_SEED], "control": control, "variants": arms}
    save(folder / f"{name}-tune.yaml", tuning | {"grid": grid})
    runs = folder / f"{name}-tune" / "runs.jsonl"
    if not runs.exists():
        return
    best = best_settings(runs, list(arms), grid)
    variants = {arm: arms[arm] | best[arm] for arm in arms}
    if smoothed:
        variants |= {f"{arm}-share": fields | smoothed for arm, fields in variants.items()}
    evaluate = {"data": "../shared/data/sts", "which": "last"}
    study = {"about": about, "base": base, "evaluate": evaluate, "seeds": SEEDS, "control": control}
    save(folder / f"{name}.yaml", study | {"variants": variants})


def best_settings(runs: Path, arms: list[str], grid: dict[str, list[float]]) -> dict[str, Settings]:
    """Return the settings of each arm whose score after the last step is best.

    Raises:
        SystemExit: If an arm has not been run at every setting.
    """
    found = defaultdict(list)
    for line in runs.read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        found[run["variant"]].append((run["last"], run["point"]))
    trials = prod(len(values) for values in grid.values())
    for arm in arms:
        if len(found[arm]) != trials:
            raise SystemExit(f"{runs}: {arm} has {len(found[arm])} of {trials} runs: run the tuning study to its end.")
    return {arm: max(found[arm], key=lambda trial: trial[0])[1] for arm in arms}


def save(path: Path, study: Settings) -> None:
    """Write a study file."""
    path.write_text(yaml.safe_dump(study, sort_keys=False, width=120), encoding="utf-8")


if __name__ == "__main__":
    main()
