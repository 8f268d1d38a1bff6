"""Run study-4.yaml, question 4 of PROTOCOL.md, on a CPU, from a folder that holds domains/debian.

`smoothcse study` would score the start again in each run, and everything in fp32. This scores the start once, and
everything in bf16 where the processor has it, and keeps no models: on a CPU, scoring 9,000 texts would take longer
than the training.

    python docs/results/smoothing/retrieval_study.py [--seed 0 1] [--output docs/results/smoothing/study-4]

Several processes can share the seeds, each with an output of its own and OMP_NUM_THREADS=1; then
`smoothcse study study-4.yaml --output docs/results/smoothing/study-4 --merge FOLDER` joins what both have recorded.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from rich.console import Console
from sentence_transformers import SentenceTransformer

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.encoders.precision import resolve_precision
from smoothcse.evaluation.own_labels import load_own_labels
from smoothcse.experiments.in_process import InProcess
from smoothcse.experiments.run_study import run_study
from smoothcse.experiments.study import read_study
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder
from smoothcse.training.selection import DEV_SCORE, Criterion

FOLDER = Path(__file__).parent


def main() -> None:
    """Train the runs that are not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=FOLDER / "study-4.yaml", help="file of the study")
    parser.add_argument("--output", type=Path, default=FOLDER / "study-4", help="folder of runs.jsonl and the tables")
    parser.add_argument("--seed", type=int, nargs="+", help="run only these seeds now [all]")
    parser.add_argument("--only", nargs="+", help="run only these variants now [all]")
    arguments = parser.parse_args()
    quiet_libraries()
    study = read_study(arguments.study)
    workers = WithoutModels(Console(stderr=True), criterion=retrieval(study.base["dev"]), same_start=True)
    run_study(study, arguments.output, only=arguments.only, seeds=arguments.seed, workers=workers)


class WithoutModels(InProcess):
    """Runs in this process whose models are not kept."""

    def train(self, config: TrainConfig, *, resume: bool, overwrite: bool) -> None:
        """Train a run, and delete its models."""
        super().train(config, resume=resume, overwrite=overwrite)
        folder = RunFolder(config.output)
        for model in (folder.best, folder.last):
            shutil.rmtree(model, ignore_errors=True)


def retrieval(source: str) -> Criterion:
    """Return the criterion for labelled queries, MRR x 100, computed in bf16 where the processor has it."""
    labels = load_own_labels(source)
    precision = resolve_precision("auto", "encode", "cpu")

    def score(model: SentenceTransformer) -> dict[str, float]:
        return {DEV_SCORE: labels.score(model, precision="auto").value}

    name = f"{len(labels):,} {labels.kind} of {labels.name}, {labels.metric}, {precision}"
    return Criterion(name, score, labels.fingerprint, labels.notes)


if __name__ == "__main__":
    main()
