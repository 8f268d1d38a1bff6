"""The trials of an adaptation: candidates are trained round by round, and scored by the probe."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from sentence_transformers import SentenceTransformer

from smoothcse._utils.atomic import write_text_atomic
from smoothcse._utils.json_files import parse_object, read_text
from smoothcse.encoders.load import model_source
from smoothcse.encoders.pooling import added_pooling
from smoothcse.experiments.adapt.candidates import Candidate, fields_of
from smoothcse.experiments.adapt.layout import RUNS, TRIALS
from smoothcse.experiments.adapt.material import Material
from smoothcse.experiments.adapt.request import AdaptRequest
from smoothcse.experiments.in_process import InProcess
from smoothcse.experiments.planned_runs import Plan, PlannedRun
from smoothcse.experiments.runner import run_plan
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.folder import RunFolder
from smoothcse.training.selection import DEV_SCORE, Criterion

CALIBRATION_STEPS = 5
"""Steps of the run that measures the costs."""


@dataclass(frozen=True)
class Trial:
    """One trained candidate.

    Attributes:
        candidate: Name of the candidate.
        round: Number of the round, from 1; 0 for the run that measures the costs.
        steps: Training steps.
        seconds: Duration of training and scoring.
        step_seconds: Median duration of a step.
        score: Criterion of selection, see :attr:`~smoothcse.experiments.adapt.judge.ProbeScores.selection`.
    """

    candidate: str
    round: int
    steps: int
    seconds: float
    step_seconds: float
    score: float

    @property
    def run_name(self) -> str:
        """Name of the run folder."""
        return f"{self.round}-{self.candidate}"


class Trials:
    """Training and scoring of candidates in an output folder; what is recorded there is not repeated.

    Args:
        request: Checked arguments of the adaptation.
        material: Texts to train on.
        start: Encoder to adapt, which is trained with the pooling that it has here.
        criterion: Criterion of selection.
        start_score: Score of the start by this criterion.

    Attributes:
        folder: Folder of the run folders.
        done: Finished trials, in order.
    """

    def __init__(
        self,
        request: AdaptRequest,
        material: Material,
        start: SentenceTransformer,
        criterion: Criterion,
        start_score: float,
    ) -> None:
        self.request, self.material = request, material
        self._model = model_source(request.model)
        self._pooling = added_pooling(start, self._model)
        self.folder = Path(request.output) / RUNS
        self._file = Path(request.output) / TRIALS
        self.done: list[Trial] = list(_read(self._file))
        known = {DEV_SCORE: start_score}
        self._workers = InProcess(Console(quiet=True), criterion=criterion, start_metrics=known)

    def run(self, candidate: Candidate, number: int, steps: int) -> Trial:
        """Train and score a candidate, unless this is recorded.

        Args:
            candidate: Candidate to train.
            number: Number of the round.
            steps: Training steps.
        """
        for trial in self.done:
            if (trial.candidate, trial.round, trial.steps) == (candidate.name, number, steps):
                return trial
        started = time.perf_counter()
        run = PlannedRun(f"{number}-{candidate.name}", candidate.name, self._config(candidate, steps))
        plan = Plan([run], self.folder)
        [record] = run_plan(plan, self._workers, replace="changed")
        seconds = time.perf_counter() - started
        trial = Trial(candidate.name, number, steps, seconds, record.step_seconds or seconds / steps, record.last)
        self._record(trial)
        return trial

    def best(self) -> Trial:
        """Return the trial with the highest score; of equal ones, the first."""
        return max(self._compared(), key=lambda trial: trial.score)

    def model_of(self, trial: Trial) -> Path:
        """Return the folder of a trial's model, which is kept for the best trial only."""
        return RunFolder(self.folder / trial.run_name).last

    def _compared(self) -> list[Trial]:
        return [trial for trial in self.done if trial.round] or self.done

    def _config(self, candidate: Candidate, steps: int) -> TrainConfig:
        request, material = self.request, self.material
        fields = {
            **fields_of(candidate),
            "corpus": str(material.training_file),
            "column": "text",
            "model": self._model,
            "pooling": self._pooling,
            "language": request.language,
            "max_length": material.max_length,
            "max_steps": steps,
            "eval_steps": steps,
            "precision": request.precision,
            "seed": request.seed,
        }
        usable = material.titled if candidate.needs_titles else material.passages
        fields["batch_size"] = min(fields["batch_size"], usable)
        return TrainConfig(**fields)

    def _record(self, trial: Trial) -> None:
        self.done.append(trial)
        write_text_atomic(self._file, "".join(json.dumps(asdict(one)) + "\n" for one in self.done))
        best = self.best().run_name
        for folder in map(RunFolder, self.folder.iterdir()):
            shutil.rmtree(folder.best, ignore_errors=True)  # `last`, or the start
            if folder.path.name != best:
                shutil.rmtree(folder.last, ignore_errors=True)


def _read(file: Path) -> Iterator[Trial]:
    if not file.is_file():
        return
    for number, line in enumerate(read_text(file, "the trials of an adaptation").splitlines(), start=1):
        if line.endswith("}"):  # the last line may have been cut off
            yield Trial(**parse_object(f"{file}:{number}", line, "a trial"))
