"""The steps of a run, from its inputs to its results."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from sentence_transformers import SentenceTransformerTrainingArguments
from transformers import TrainerCallback

from smoothcse.encoders.sharding import gathered
from smoothcse.errors import Stopped
from smoothcse.hub.model_card import write_model_card
from smoothcse.runs import model_folder
from smoothcse.runs.checkpoints import WriteChecksums, step_of
from smoothcse.runs.host_settings import broken_promises
from smoothcse.runs.manifest import Manifest, write_manifest
from smoothcse.runs.result import TrainResult
from smoothcse.runs.start import settle
from smoothcse.training.callbacks import (
    BatchShares,
    CollapseMonitor,
    FiniteLoss,
    FreedMemory,
    MethodState,
    Metrics,
    NoiseShareMonitor,
    NoiseStep,
    ProgressBar,
    Selection,
    StartDecay,
    StepCost,
    StopOnSignal,
)
from smoothcse.training.card import start_card
from smoothcse.training.determinism import seed_rank
from smoothcse.training.inputs import RunInputs
from smoothcse.training.launch import is_main_process
from smoothcse.training.parts import make_loss
from smoothcse.training.plan import RunPlan
from smoothcse.training.preflight import check_inputs, score_start, time_step
from smoothcse.training.selection import CriterionEvaluator, score_widths
from smoothcse.training.text_check import TextCheck
from smoothcse.training.trainer import make_trainer
from smoothcse.training.warnings import Warnings

_NAMED_TRUNCATION = 0.01  # share of truncated texts from which the last line names it
_MONITORED_SENTENCES = 256  # sample that CollapseMonitor embeds at each evaluation


class Execution:
    """The parts of one run, built in the order in which they are needed.

    Args:
        plan: Plan of the run.
        inputs: Text, encoder and criterion.
        arguments: Arguments of the trainer.
        start_metrics: Metrics of the untrained encoder, if known.
        console: Console to print on.
    """

    def __init__(
        self,
        plan: RunPlan,
        inputs: RunInputs,
        arguments: SentenceTransformerTrainingArguments,
        start_metrics: Mapping[str, float] | None,
        console: Console,
    ) -> None:
        self.plan, self.inputs, self.console = plan, inputs, console
        self.cost = StepCost(plan.hardware.device_type)  # before the loss, whose state is part of a step's memory
        self.loss = make_loss(plan, inputs.model)
        kept = self.loss.state
        self.state = None if kept is None else MethodState(kept, plan.folder.checkpoints, writes=is_main_process())
        self.manifest: Manifest | None = None
        self.warnings = Warnings(console, lambda messages: self._write(warnings=list(messages)))
        self.collapse = CollapseMonitor(
            inputs.model, inputs.corpus.dataset[:_MONITORED_SENTENCES]["sentence"], self.warnings
        )
        self.selection = Selection(
            plan.folder, inputs.model, writes=is_main_process(), keep_adapters=plan.config.keep_adapters
        )
        self.bar = ProgressBar(console, self.selection)
        self.stop = StopOnSignal()
        self.evaluator = CriterionEvaluator(inputs.criterion, start_metrics)
        self.start_seconds = 0.0  # duration of the evaluation of the start
        self.trainer = make_trainer(
            inputs, plan.config.max_length, self.loss, self.evaluator, arguments, self._callbacks()
        )

    def _callbacks(self) -> list[TrainerCallback]:
        """Return the callbacks, in calling order."""
        folder, decay = self.plan.folder, self.plan.config.start_decay
        return [
            NoiseStep(self.loss),
            *([StartDecay(self.inputs.model, decay)] if decay else []),
            self.stop,  # before the check of the loss, so that its checkpoint is checked too
            FiniteLoss(self.loss, folder, gradients=self.plan.hardware.precision != "fp16"),
            self.selection,
            *([self.state] if self.state else []),
            BatchShares(self.loss),
            *([Metrics(folder)] if is_main_process() else []),
            WriteChecksums(folder.checkpoints, writes=is_main_process()),
            FreedMemory(),
            *([NoiseShareMonitor(self.warnings)] if self.plan.noise.count else []),
            self.collapse,
            self.bar,
            self.cost,
        ]

    def execute(
        self,
        manifest: Manifest | None,
        checkpoint: Path | None,
        *,
        warnings: Sequence[str],
        earlier: Sequence[str] = (),
    ) -> TrainResult:
        """Train to the last step and write the results.

        Args:
            manifest: Manifest of the run so far; None if another rank writes it.
            checkpoint: Checkpoint to resume from; None to start at step 0.
            warnings: Warnings to show and record before the first step.
            earlier: Warnings that were recorded before an interruption.
        """
        started = time.perf_counter()
        self.manifest = manifest
        self.warnings.messages.extend(earlier)
        # The text again, to which the method may have added.
        self._write(data=self.inputs.corpus.report.as_dict(), warnings=list(earlier))
        self.console.print(self.inputs.corpus.report.table())
        promises = broken_promises(self.plan.config.trainer_args, self.plan.config.batch_size)
        for warning in (*warnings, *promises, *self.inputs.criterion.notes):
            self.warnings.warn(warning)
        text = check_inputs(self.plan, self.inputs, self.warnings)
        start_score = self._train_from(checkpoint, text)
        result = self._result(start_score)
        self._write(
            status="finished",
            text=dataclasses.asdict(text),
            result=result.as_dict(),
            width_scores=self._width_scores(),
            warnings=self.warnings.messages,
            times=self._times(time.perf_counter() - started),
            peak_memory_mb=self.cost.peak_memory_mb,
        )
        self._write_cards()
        self.console.print(result.verdict(), style="bold", markup=False)
        self.console.print(f"The model is in {result.best}.", markup=False, soft_wrap=True)
        if text.truncated_texts >= _NAMED_TRUNCATION:
            length = self.plan.config.max_length
            words = f"Training truncated {text.truncated_texts:.0%} of the texts to {length} tokens (--max-length)."
            self.console.print(words, highlight=False, markup=False)
        self._raise_if_asked_to_stop()
        return result

    def _train_from(self, checkpoint: Path | None, text: TextCheck) -> float:
        """Score the start, train to the last step, save the last model, and return the start's score."""
        folder, steps = self.plan.folder, self.inputs.steps
        try:
            self.collapse.measure_start()
            start_score = folder.score_at(0) if checkpoint else self._start(text)
            if is_main_process():
                settle(folder)
            if checkpoint and step_of(checkpoint) >= steps:
                self._take_last_step(checkpoint)
            else:
                self._train(checkpoint)
            note = {"step": steps, "score": self.selection.last_score}
            with gathered(self.inputs.model) as model:
                if is_main_process():
                    keep = self.plan.config.keep_adapters
                    model_folder.save_model(model, folder.last, note, keep_adapters=keep)
        finally:
            self.bar.close()
        return start_score

    def _start(self, text: TextCheck) -> float:
        """Score the untrained model and show the card."""
        score = score_start(self.trainer, self.evaluator, self.inputs.model)
        self.start_seconds = self.evaluator.seconds
        measured, step_seconds = time_step(self.plan, self.inputs, self.loss, self.trainer.args.process_index)
        card = start_card(
            self.plan,
            self.inputs,
            text=text,
            measured=measured,
            step_seconds=step_seconds,
            start_score=score,
            evaluation_seconds=self.start_seconds,
        )
        self.console.print(card)
        return score

    def _train(self, checkpoint: Path | None) -> None:
        # Seed again: the checks before must not change the dropout of the first step.
        seed_rank(self.plan.config.seed, self.trainer.args.process_index)
        if checkpoint and self.state:
            self.state.restore(checkpoint)
        with self.stop.listening():
            self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        self._raise_if_stopped()

    def _take_last_step(self, checkpoint: Path) -> None:
        """Restore a run that was interrupted after its last step; the trainer would train one step more."""
        self.trainer._load_from_checkpoint(str(checkpoint))
        self.selection.last_score = self.plan.folder.score_at(step_of(checkpoint))

    def _raise_if_stopped(self) -> None:
        step, steps = self.trainer.state.global_step, self.inputs.steps
        if step < steps:
            name = self.stop.received or "SIGTERM"  # another rank received it
            raise Stopped(
                f"The run in {self.plan.folder.path} stopped on {name} after step {step} of {steps} and has written a "
                "checkpoint; continue with --resume.",
                signal.Signals[name],
            )

    def _raise_if_asked_to_stop(self) -> None:
        """Pass on a signal that arrived after the last step, when there was nothing left to stop."""
        if name := self.stop.received:
            raise Stopped(
                f"The run in {self.plan.folder.path} received {name} after its last step; it is finished.",
                signal.Signals[name],
            )

    def _result(self, start_score: float) -> TrainResult:
        best, last = self.selection.best_score, self.selection.last_score
        return TrainResult(
            folder=self.plan.folder.path,
            start_score=start_score,
            best_score=start_score if best is None else best,
            best_step=self.selection.best_step,
            last_score=start_score if last is None else last,
            criterion=self.inputs.criterion.name,
        )

    def _width_scores(self) -> dict[int, float]:
        """Score the best model at each width of Matryoshka training."""
        if not is_main_process():
            return {}
        widths = self.plan.config.matryoshka or []
        return score_widths(self.inputs.criterion, self.plan.folder.best, widths, self.inputs.model.device)

    def _times(self, total: float) -> dict[str, float | None]:
        return {
            "total_seconds": total,
            "evaluation_seconds": self.evaluator.seconds,
            "start_evaluation_seconds": self.start_seconds,
            "evaluation_share": (self.evaluator.seconds - self.start_seconds)
            / total,  # evaluations during training only
            "step_seconds": self.cost.step_seconds,
        }

    def _write_cards(self) -> None:
        for model in (self.plan.folder.best, self.plan.folder.last):
            if is_main_process() and model.is_dir():
                write_model_card(model)

    def _write(self, **changes: Any) -> None:
        """Write the manifest with some fields changed, unless another rank writes it."""
        if self.manifest is None:
            return
        self.manifest = self.manifest.replace(**changes)
        write_manifest(self.plan.folder.path, self.manifest)
