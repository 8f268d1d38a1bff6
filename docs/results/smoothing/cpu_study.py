"""Run a study of PROTOCOL.md on a CPU: the start is scored once for all runs, and no models are kept.

`smoothcse study` scores the start again in each run. For labelled queries (question 4, from a folder that holds
domains/debian), it also scores in fp32; this scores in bf16 where the processor has it, since scoring 9,000 texts
would otherwise take longer than the training.

    python docs/results/smoothing/cpu_study.py study-4.yaml [--seed 0 1] [--only infonce] [--output FOLDER]

Several processes can share the runs, each with an output of its own and OMP_NUM_THREADS=1; then
`smoothcse study study-4.yaml --output docs/results/smoothing/study-4 --merge FOLDER` joins what they have recorded.
All runs of a study must have the same start: the same model, pooling and way to read a sentence.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from sentence_transformers import SentenceTransformer

from smoothcse._utils.quiet import quiet_libraries
from smoothcse.encoders.precision import resolve_precision
from smoothcse.evaluation.own_labels import load_own_labels
from smoothcse.experiments.in_process import InProcess
from smoothcse.experiments.planned_runs import PlannedRun
from smoothcse.experiments.run_study import run_study
from smoothcse.experiments.runner import Work
from smoothcse.experiments.study import read_study
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder
from smoothcse.training.selection import DEV_SCORE, Criterion


def main() -> None:
    """Train the runs that are not recorded yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="file of the study")
    parser.add_argument("--output", type=Path, help="folder of runs.jsonl and the tables [that of the file's name]")
    parser.add_argument("--seed", type=int, nargs="+", help="run only these seeds now [all]")
    parser.add_argument("--only", nargs="+", help="run only these variants now [all]")
    arguments = parser.parse_args()
    quiet_libraries()
    study = read_study(arguments.study)
    output = arguments.output or arguments.study.with_suffix("")
    labels = Path(study.base["dev"])
    criterion = retrieval(labels) if (labels / "queries.jsonl").exists() else None
    workers = WithoutModels(Console(stderr=True), criterion=criterion, same_start=True)
    run_study(study, output, only=arguments.only, seeds=arguments.seed, workers=workers)


class WithoutModels(InProcess):
    """Runs in this process whose models are deleted once they are scored."""

    folder: RunFolder

    def each(self, runs: Sequence[PlannedRun], work: Work) -> Iterator[tuple[PlannedRun, None]]:
        """Do the work of each run, and delete its models."""
        for run, ended in super().each(runs, work):
            for model in (self.folder.best, self.folder.last):
                shutil.rmtree(model, ignore_errors=True)
            yield run, ended

    def train(self, config: TrainConfig, *, resume: bool, overwrite: bool) -> None:
        """Train a run."""
        self.folder = RunFolder(config.output)
        super().train(config, resume=resume, overwrite=overwrite)


def retrieval(source: Path) -> Criterion:
    """Return the criterion for labelled queries, MRR x 100, computed in bf16 where the processor has it."""
    labels = load_own_labels(source)
    precision = resolve_precision("auto", "encode", "cpu")

    def score(model: SentenceTransformer) -> dict[str, float]:
        return {DEV_SCORE: labels.score(model, precision="auto").value}

    name = f"{len(labels):,} {labels.kind} of {labels.name}, {labels.metric}, {precision}"
    return Criterion(name, score, labels.fingerprint, labels.notes)


if __name__ == "__main__":
    main()
