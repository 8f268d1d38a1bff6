"""Write the study files of questions 3 and 5 of PROTOCOL.md, whose learning rates are tuned first.

With no study-X-tune/runs.jsonl it writes study-X-tune.yaml, the tuned arms at each learning rate on seed 99. With it,
it writes study-X.yaml, every arm at the best learning rate on three other seeds.

    cd docs/results/smoothing
    python tuned_studies.py
    smoothcse study study-5-tune.yaml --output study-5-tune
    python tuned_studies.py                # writes study-5.yaml
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

Settings = dict[str, Any]
Trials = Mapping[float, Mapping[str, float]]
"""For each learning rate the score of each arm."""

TUNING_SEED = 99
SEEDS = [0, 1, 2]
LEARNING_RATES = [3.0e-5, 6.0e-5, 1.2e-4, 2.4e-4]
SHARE = {"noise_count": 192, "noise_mode": "expected", "noise_share": 0.4}
BEST_SHARE = SHARE | {"noise_share": 0.6}  # of question 2c
BASE: Settings = {
    "corpus": "../shared/data/corpus",
    "model": "packaged-minilm",
    "pooling": "cls",
    "dev": "../shared/data/sts",
    "log_steps": 10,
}
EVALUATE: Settings = {"data": "../shared/data/sts", "which": "last", "pairs": 500}

EQUAL = {  # question 3: steps of each batch size
    "sentences": {64: 160, 256: 40, 1024: 10},
    "steps": {64: 10, 256: 10, 1024: 10},
}
CACHED_FROM = 1024  # sentences of a batch
MINI_BATCH = 16384  # tokens
# DCLR's threshold of 0.9 would mask 0.002% of the negatives for this judge, which is read at [CLS]; 0.78 masks 0.1%,
# as many as have a cosine above 0.5 with the encoder's own pooling (2,048 sentences of the corpus, before the runs).
BATCH_ARMS: dict[str, Settings] = {
    "infonce": {"noise_count": 0},
    "gs-3n": {"noise_ratio": 3.0},
    "share-0.4": SHARE,
    "mask-0.78": {"noise_count": 0, "false_negative_threshold": 0.78},
    "gs-192": {"noise_count": 192},
}
TUNED_ARMS = ("infonce", "share-0.4")

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
    for equal, steps in EQUAL.items():
        write(folder, f"study-3-{equal}", batch_sizes(equal, steps), list(TUNED_ARMS), with_rate_of_each_size)
    write(folder, "study-5", neighbours(), list(METHODS), with_rate_of_each_method)


def batch_sizes(equal: str, steps: dict[int, int]) -> Settings:
    """Return the study of question 3 for batches with equal sentences or equal steps, without learning rates."""
    grid = {size: {"max_steps": number, "eval_steps": number} for size, number in steps.items()}
    for size, fields in grid.items():
        if size >= CACHED_FROM:
            fields["mini_batch"] = MINI_BATCH
    return {
        "about": f"Question 3: with equal {equal} for each batch size, does smoothing stop a fall with the batch?",
        "base": BASE,
        "evaluate": EVALUATE,
        "seeds": SEEDS,
        "control": "infonce",
        "variants": BATCH_ARMS,
        "grid": {"batch_size": grid},
        "tests": {"differ": [], "slope": [["infonce"], *([arm, "infonce"] for arm in BATCH_ARMS if arm != "infonce")]},
    }


def neighbours() -> Settings:
    """Return the study of question 5, without learning rates."""
    return {
        "about": "Question 5: which method learns most, each tuned alike, with and without smoothing?",
        "base": BASE | {"noise_count": 0, "batch_size": 32, "max_steps": 200, "eval_steps": 200},
        "evaluate": EVALUATE,
        "seeds": SEEDS,
        "control": "simcse",
        "variants": METHODS,
        "tests": {},
    }


def write(
    folder: Path,
    name: str,
    study: Settings,
    tuned: list[str],
    with_rates: Callable[[Settings, Mapping[Any, Trials]], Settings],
) -> None:
    """Write the tuning study of a study, and the study at the best learning rates once the tuning has been run.

    Args:
        folder: Folder of the studies.
        name: Name of the study.
        study: The study without learning rates.
        tuned: Arms that are tuned.
        with_rates: Returns the study with learning rates, given the trials of each batch size, or of None.
    """
    grid = study.get("grid", {}) | {"learning_rate": LEARNING_RATES}
    variants = {arm: study["variants"][arm] for arm in tuned}
    tuning = {key: study[key] for key in ("about", "base", "control")} | {"seeds": [TUNING_SEED]}
    save(folder / f"{name}-tune.yaml", tuning | {"variants": variants, "grid": grid})
    runs = folder / f"{name}-tune" / "runs.jsonl"
    if runs.exists():
        sizes = list(study.get("grid", {}).get("batch_size", [None]))
        save(folder / f"{name}.yaml", with_rates(study, read_trials(runs, tuned, sizes)))


def read_trials(runs: Path, tuned: list[str], sizes: list[Any]) -> Mapping[Any, Trials]:
    """Return the scores after the last step, by batch size (None if the study has one), learning rate and arm.

    Raises:
        SystemExit: If an arm has not been run at every setting.
    """
    trials: dict[Any, dict[float, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in runs.read_text(encoding="utf-8").splitlines():
        run = json.loads(line)
        trials[run["point"].get("batch_size")][run["point"]["learning_rate"]][run["variant"]] = run["last"]
    for arm in tuned:
        known = sum(arm in trials[size][rate] for size in sizes for rate in LEARNING_RATES)
        if known < (due := len(sizes) * len(LEARNING_RATES)):
            raise SystemExit(f"{runs}: {arm} has {known} of {due} runs: run the tuning study to its end.")
    return trials


def with_rate_of_each_size(study: Settings, trials: Mapping[Any, Trials]) -> Settings:
    """Give each batch size the learning rate with the highest mean over the tuned arms."""
    sizes = study["grid"]["batch_size"]
    rates = {size: max(trials[size], key=lambda rate: fmean(trials[size][rate].values())) for size in sizes}
    return study | {
        "grid": {"batch_size": {size: fields | {"learning_rate": rates[size]} for size, fields in sizes.items()}}
    }


def with_rate_of_each_method(study: Settings, trials: Mapping[Any, Trials]) -> Settings:
    """Give each method its best learning rate, and run each a second time with smoothing."""
    found = trials[None]
    best = {
        method: fields | {"learning_rate": max(found, key=lambda rate: found[rate][method])}
        for method, fields in study["variants"].items()
    }
    smoothed = {f"{method}-share": fields | BEST_SHARE for method, fields in best.items()}
    against = [[method, "simcse"] for method in best if method != "simcse"]
    differ = [*against, *([name, name.removesuffix("-share")] for name in smoothed)]
    return study | {"variants": best | smoothed, "tests": {"differ": differ}}


def save(path: Path, study: Settings) -> None:
    """Write a study file."""
    path.write_text(yaml.safe_dump(study, sort_keys=False, width=120), encoding="utf-8")


if __name__ == "__main__":
    main()
