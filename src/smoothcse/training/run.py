"""From a configuration to a run folder."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from transformers import PrinterCallback

from smoothcse.corpus import Corpus, load_sentences
from smoothcse.encoders.behaviour import require_distinct_embeddings
from smoothcse.encoders.hardware import Hardware, find_hardware
from smoothcse.errors import SmoothCSEError, Stopped
from smoothcse.fastpath import PARTS, accelerate
from smoothcse.fastpath.token_ids import tokenised_once
from smoothcse.hub.model_card import write_model_card
from smoothcse.methods.table import find_method, make_settings
from smoothcse.runs import model_folder
from smoothcse.runs.checkpoints import WriteChecksums, step_of
from smoothcse.runs.config import TrainConfig
from smoothcse.runs.disk import explain_failed_writes, require_space
from smoothcse.runs.folder import RunFolder
from smoothcse.runs.manifest import Manifest, write_manifest
from smoothcse.runs.provenance import running_manifest
from smoothcse.runs.result import TrainResult, read_result
from smoothcse.runs.start import require_same_config, settle, take_folder
from smoothcse.training.callbacks import (
    CollapseGuard,
    FiniteLoss,
    GiveBackFreedMemory,
    MethodState,
    Metrics,
    NoiseShare,
    NoiseShareGuard,
    NoiseStep,
    ProgressBar,
    Selection,
    StepCost,
    StopOnSignal,
)
from smoothcse.training.callbacks.monitors import require_two_views
from smoothcse.training.card import probe, start_card
from smoothcse.training.determinism import deterministic_kernels, seed_rank
from smoothcse.training.full_memory import explain_full_memory
from smoothcse.training.launch import is_main_process, launch, wants_launch
from smoothcse.training.mini_batch import WHOLE_BATCH
from smoothcse.training.parts import host_arguments, make_loss, read_start
from smoothcse.training.selection import DEV_SCORE, CriterionEvaluator, choose_criterion
from smoothcse.training.text_check import TextCheck, check_text, warn_of_text
from smoothcse.training.texts import with_texts
from smoothcse.training.warnings import Notices

_GUARDED_SENTENCES = 256  # that the guard against collapse embeds at each evaluation


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    devices: int | None = None,
    start_metrics: Mapping[str, float] | None = None,
    console: Console | None = None,
) -> TrainResult:
    """Train an encoder and select its best step.

    Args:
        config: of the run; its ``output`` is the folder that is written.
        resume: go on with the run in that folder; the result equals that of a run never interrupted.
        overwrite: replace the run in that folder.
        devices: processes to share each batch, one per GPU (or on the CPU); None: every visible GPU, else one process.
        start_metrics: what the criterion says of the start, where another run of the same start has found it out
            (the metrics of step 0); None to evaluate it.
        console: where to print; None for standard error.

    Returns:
        Scores and folders.

    Raises:
        SmoothCSEError: for everything a user can mend.
    """
    console = (console or Console(stderr=True)) if is_main_process() else Console(quiet=True)
    folder = RunFolder(config.output)
    if resume and folder.finished:
        return _finished(config, folder, console)
    if wants_launch(devices):
        launch(config, resume=resume, overwrite=overwrite, devices=devices)
        return read_result(config.output)
    hardware = find_hardware(config.precision)
    make_settings(config.method, config.settings or {})  # a mistake in them is told before the corpus is read
    _check_pairs(config)
    corpus = load_sentences(
        config.corpus, column=config.column, columns=config.columns, limit=config.limit, seed=config.seed
    )
    _check_batch(config, corpus, hardware)
    model, criterion = read_start(config, hardware), choose_criterion(config, corpus)
    manifest = running_manifest(config, corpus, hardware, model, criterion.fingerprint) if is_main_process() else None
    with (
        explain_failed_writes(folder.path),
        explain_full_memory(folder),
        deterministic_kernels(config.deterministic),
        _taken(folder, manifest, resume=resume, overwrite=overwrite, console=console) as checkpoint,
        accelerate(model, parts=PARTS if config.fast_path else ()) as slow,
    ):
        corpus = with_texts(config, corpus, model, folder, hardware, manifest, console)
        evaluator = CriterionEvaluator(criterion, start_metrics)
        run = _Run(config, corpus, model, evaluator, folder, hardware, console)
        for reason in slow:
            run.notices.warn(reason)
        return run.execute(manifest, checkpoint)


@contextmanager
def _taken(
    folder: RunFolder, manifest: Manifest | None, *, resume: bool, overwrite: bool, console: Console
) -> Iterator[Path | None]:
    """Take the folder, which one rank does for all, and say where a resumed run continues."""
    if manifest is None:
        yield folder.latest_checkpoint() if resume else None
        return
    with take_folder(folder, manifest, resume=resume, overwrite=overwrite) as checkpoint:
        if resume:
            for damage in folder.drop_damaged_checkpoints():
                console.print(damage, style="yellow", markup=False)
            place = f"after step {step_of(checkpoint)}" if checkpoint else "from the start: it has no checkpoint yet"
            console.print(f"Resuming the run in {folder.path} {place}.", highlight=False, markup=False, soft_wrap=True)
        yield checkpoint


def _finished(config: TrainConfig, folder: RunFolder, console: Console) -> TrainResult:
    require_same_config(folder, config.as_dict())
    result = read_result(folder.path)
    said = f"The run in {folder.path} is finished; nothing was changed. {result.verdict()}"
    console.print(said, highlight=False, markup=False)
    return result


class _Trainer(SentenceTransformerTrainer):
    """The host's trainer without its model cards, which nobody reads in a checkpoint: `best` and `last` get ours."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Add none: it would first encode samples of the corpus."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write a checkpoint's model; the trainer adds its own state."""
        if self.args.should_save:
            self.model.save_pretrained(output_dir or self.args.output_dir, create_model_card=False)


class _Run:
    """One run's parts, put together in the order in which they are needed."""

    def __init__(
        self,
        config: TrainConfig,
        corpus: Corpus,
        model: SentenceTransformer,
        evaluator: CriterionEvaluator,
        folder: RunFolder,
        hardware: Hardware,
        console: Console,
    ) -> None:
        self.config, self.corpus, self.model, self.evaluator = config, corpus, model, evaluator
        self.folder, self.hardware, self.console = folder, hardware, console
        self.steps = config.steps_over(len(corpus))
        self.cost = StepCost(hardware.device_type)  # before the loss, whose state is part of a step's memory
        require_space(folder.path, self.model)
        self.loss = make_loss(self.model, config, hardware)
        kept = self.loss.state
        self.state = MethodState(kept, folder.checkpoints, writes=is_main_process()) if kept is not None else None
        self.start_seconds = 0.0  # that the evaluation of the start took
        self.notices = Notices(console)
        self.selection = Selection(folder, self.model, writes=is_main_process())
        self.bar = ProgressBar(console, self.selection)
        self.stop = StopOnSignal()
        self.trainer = self._make_trainer()

    def execute(self, manifest: Manifest | None, checkpoint: Path | None) -> TrainResult:
        """Train to the end and write everything.

        Args:
            manifest: Manifest of the run so far; None where another rank writes it.
            checkpoint: Where to continue from, or None.
        """
        started = time.perf_counter()
        manifest = self._write(manifest, data=self.corpus.report.as_dict())  # the method may have added texts
        self.console.print(self.corpus.report.table())
        text = self._check_start()
        try:
            start_score = self._start_score(checkpoint, text)
            if is_main_process():
                settle(self.folder)
            if checkpoint and step_of(checkpoint) >= self.steps:
                self._take_last_step(checkpoint)
            else:
                self._train(checkpoint)
            if is_main_process():
                note = {"step": self.steps, "score": self.selection.last_score}
                model_folder.save_model(self.model, self.folder.last, note)
        finally:
            self.bar.close()
        result = self._result(start_score)
        self._write(
            manifest,
            status="finished",
            text=dataclasses.asdict(text),
            result=result.as_dict(),
            warnings=self.notices.said,
            times=self._times(time.perf_counter() - started),
            peak_memory_mb=self.cost.peak_memory_mb,
        )
        self._write_cards()
        self.console.print(result.verdict(), style="bold", markup=False)
        self.console.print(f"The model is in {result.best}.", markup=False, soft_wrap=True)
        return result

    def _train(self, checkpoint: Path | None) -> None:
        # What came before must not shift the dropout of the first step.
        seed_rank(self.config.seed, self.trainer.args.process_index)
        if checkpoint and self.state:
            self.state.restore(checkpoint)
        with self.stop.listening():
            self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        self._raise_if_stopped()

    def _take_last_step(self, checkpoint: Path) -> None:
        """Take over a run that was cut off after its last step; the host would train one step more."""
        self.trainer._load_from_checkpoint(str(checkpoint))
        self.selection.last_score = self.folder.score_at(step_of(checkpoint))

    def _check_start(self) -> TextCheck:
        """Look for what would make the whole run pointless."""
        check = check_text(self.model, self.corpus, self.config.max_length, self.config.seed)
        warn_of_text(check, self.config.model, self.config.max_length, self.notices)
        require_distinct_embeddings(self.model, self.config.model, self.corpus.dataset[:8]["sentence"])
        if not self.config.columns:
            require_two_views(self.model, self.corpus.dataset[:8]["sentence"], self.config.max_length)
        return check

    def _raise_if_stopped(self) -> None:
        step = self.trainer.state.global_step
        if step < self.steps:
            name = self.stop.received or "SIGTERM"  # another rank's
            raise Stopped(
                f"The run in {self.folder.path} stopped on {name} after step {step} of {self.steps} and has written a "
                "checkpoint; go on with --resume.",
                signal.Signals[name],
            )

    def _start_score(self, checkpoint: Path | None, text: TextCheck) -> float:
        """Evaluate the untrained model (in a resumed run: look up what it scored) and show the card."""
        if checkpoint:
            return self.folder.score_at(0)
        score = self._evaluate_start()
        share = self.config.batch_size // self.hardware.world_size
        rows = min(share, WHOLE_BATCH)
        first = rows * self.trainer.args.process_index  # the same rows on each rank would be false negatives
        texts = self.corpus.dataset[first : first + rows]
        measured = probe(
            self.model,
            self.loss,
            list(texts.values()),
            self.config.max_length,
            self.hardware.autocast_dtype,
        )
        self.console.print(
            start_card(
                self.config,
                self.corpus,
                self.model,
                text=text,
                steps=self.steps,
                step_seconds=measured.seconds * share / rows,
                hardware=self.hardware.describe(),
                criterion=self.evaluator.criterion.name,
                start_score=score,
                measured=measured,
                evaluation_seconds=self.evaluator.seconds,
            )
        )
        return score

    def _evaluate_start(self) -> float:
        """Score the untrained model and tell the callbacks, as the host's ``evaluate`` would.

        That one marks the model as prepared for several devices without preparing it for training, so that the ranks
        of a later ``train`` would not share their gradients.
        """
        trainer = self.trainer
        metrics = {f"eval_{name}": value for name, value in self.evaluator(self.model).items()}
        self.start_seconds = self.evaluator.seconds
        trainer.log(dict(metrics))
        trainer.control = trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, metrics)
        return float(metrics[f"eval_{DEV_SCORE}"])

    def _make_trainer(self) -> SentenceTransformerTrainer:
        dataset, collate = tokenised_once(self.corpus.dataset, self.model, self.config.max_length)
        trainer = _Trainer(
            model=self.model,
            args=host_arguments(self.config, self.folder, self.hardware),
            train_dataset=dataset,
            loss=self.loss,
            data_collator=collate,
            evaluator=self.evaluator,
            callbacks=[
                NoiseStep(self.loss),
                FiniteLoss(self.loss, self.folder, gradients=self.hardware.precision != "fp16"),
                self.selection,
                self.stop,
                *([self.state] if self.state else []),
                NoiseShare(self.loss),
                *([Metrics(self.folder)] if is_main_process() else []),
                WriteChecksums(self.folder.checkpoints, writes=is_main_process()),
                GiveBackFreedMemory(),
                *([NoiseShareGuard(self.notices)] if self.config.noise_for(self.config.batch_size) else []),
                CollapseGuard(self.model, self.corpus.dataset[:_GUARDED_SENTENCES]["sentence"], self.notices),
                self.bar,
                self.cost,
            ],
        )
        trainer.remove_callback(PrinterCallback)  # our bar and metrics.jsonl say it better
        return trainer

    def _result(self, start_score: float) -> TrainResult:
        best, last = self.selection.best_score, self.selection.last_score
        return TrainResult(
            folder=self.folder.path,
            start_score=start_score,
            best_score=start_score if best is None else best,
            best_step=self.selection.best_step,
            last_score=start_score if last is None else last,
            criterion=self.evaluator.criterion.name,
        )

    def _times(self, total: float) -> dict[str, float | None]:
        return {
            "total_seconds": total,
            "evaluation_seconds": self.evaluator.seconds,
            "start_evaluation_seconds": self.start_seconds,
            "evaluation_share": (self.evaluator.seconds - self.start_seconds) / total,  # of those during training
            "step_seconds": self.cost.step_seconds,
        }

    def _write_cards(self) -> None:
        for model in (self.folder.best, self.folder.last):
            if is_main_process() and model.is_dir():
                write_model_card(model)

    def _write(self, manifest: Manifest | None, **changes: Any) -> Manifest | None:
        """Write the manifest with some fields changed, unless another rank does."""
        if manifest is None:
            return None
        changed = manifest.replace(**changes)
        write_manifest(self.folder.path, changed)
        return changed


def _check_pairs(config: TrainConfig) -> None:
    if config.columns and not find_method(config.method).pairs:
        raise SmoothCSEError(
            f"The method {config.method} makes its own positives from single sentences; give column instead of "
            "columns, or learn from labelled pairs by simcse."
        )


def _check_batch(config: TrainConfig, corpus: Corpus, hardware: Hardware) -> None:
    if config.batch_size > len(corpus):
        raise SmoothCSEError(
            f"batch_size {config.batch_size} is larger than the corpus of {len(corpus)} {corpus.report.unit}; "
            f"give more text or a batch_size of at most {len(corpus)}."
        )
    if config.batch_size % hardware.world_size:
        raise SmoothCSEError(
            f"batch_size {config.batch_size} cannot be shared evenly by {hardware.world_size} devices; use a multiple."
        )
